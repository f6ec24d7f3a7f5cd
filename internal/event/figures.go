package event

// KnownKinds is one more than the greatest Kind.
const KnownKinds = int(KindStoredEnded) + 1

// Figures are numbers of the log, since the process started.
type Figures struct {
	Published [KnownKinds]uint64 // by Kind
	Unstored  uint64             // events that were shown and could not be written to the journal
	Dropped   uint64             // events that were neither, because the disk did not keep up
	Gaps      uint64             // how often a reader was told of a gap
	Pending   int                // events that wait for the disk now
}

// Figures are the numbers now.
func (l *Log) Figures() Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.figures
	f.Pending = len(l.pending)
	return f
}
