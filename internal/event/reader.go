package event

import (
	"context"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

const (
	snapshotPart = 500 // devices in one Snapshot
	readAtOnce   = 256 // events taken from ring or journal in one go
)

// Selection says what a reader wants to hear.
type Selection struct {
	Devices []device.ID // none means all
	Kinds   []Kind      // none means all
	After   *Cursor     // nil means from now on
}

// Entry is an event with the place after it.
type Entry struct {
	Cursor Cursor
	Event  Event
}

// Reader follows the log from one place. It is for one goroutine, holds nothing that must be closed, and never delays the log.
type Reader struct {
	log     *Log
	devices map[device.ID]bool // nil means all
	kinds   []Kind
	at      uint64  // everything up to here was taken
	buffer  []Entry // to be taken next
}

// Open makes a reader whose first entry is the state at the head of the log. One lock covers the snapshot and the place in
// the log: nothing is missed or told twice. With After, what happened since then comes next.
func (l *Log) Open(s Selection) *Reader {
	r := &Reader{log: l, kinds: s.Kinds}
	if len(s.Devices) > 0 {
		r.devices = map[device.ID]bool{}
		for _, id := range s.Devices {
			r.devices[id] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.at = l.head
	switch {
	case s.After == nil:
		r.addSnapshot()
	case l.knows(s.After.Epoch) && s.After.Sequence <= l.head:
		r.at = s.After.Sequence
		r.addSnapshot()
	default:
		r.at = 0 // all that there is: the app has seen nothing of this journal
		r.addSnapshot()
		for i := range r.buffer { // an app that comes back before it was told of the gap shall be told then
			r.buffer[i].Cursor = *s.After
		}
		r.addGap(Gap{Detail: "the cursor is of another journal; what this journal holds follows"})
	}
	return r
}

// Take returns the next entry, waiting for one. It ends with ctx's error, or with ErrClosed.
func (r *Reader) Take(ctx context.Context) (Entry, error) {
	for len(r.buffer) == 0 {
		if err := ctx.Err(); err != nil {
			return Entry{}, err
		}
		bell, err := r.fill()
		if err != nil {
			return Entry{}, err
		}
		if len(r.buffer) > 0 || bell == nil {
			continue
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
	e := r.buffer[0]
	r.buffer = r.buffer[1:]
	return e, nil
}

// fill takes what is next from memory, or else from the journal. When there is nothing it returns the bell to wait for.
func (r *Reader) fill() (bell <-chan struct{}, err error) {
	l := r.log
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	if r.at == l.head {
		defer l.mu.Unlock()
		return l.bell, nil
	}
	if oldest := l.head - uint64(len(l.ring)) + 1; r.at+1 >= oldest && len(l.ring) > 0 {
		from := int(r.at + 1 - oldest)
		batch := slices.Clone(l.ring[from:min(from+readAtOnce, len(l.ring))])
		defer l.mu.Unlock()
		r.take(batch)
		return nil, nil
	}
	head := l.head
	l.mu.Unlock()
	r.fillFromJournal(head)
	return nil, nil
}

// fillFromJournal takes what is next up to head from the journal, and tells what is missing before it. What memory has lost
// and the journal does not have is gone: it never reached the journal, or has left it.
func (r *Reader) fillFromJournal(head uint64) {
	l := r.log
	first, records, err := l.journal.ReadEvents(r.at, readAtOnce)
	gone := "they had left the journal before they were read, or could not be stored"
	if err != nil { // a reader that ended here would end here for ever, each time its app resumes
		l.log.Error("the event journal cannot be read", "error", err)
		gone = "the journal cannot be read"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := head + 1 // where reading goes on: the journal may already hold what is not shown yet
	if len(l.ring) > 0 {
		next = min(next, l.ring[0].Sequence)
	}
	if err != nil || len(records) == 0 || first > next {
		r.skip(next, gone)
		return
	}
	if first > r.at+1 {
		r.skip(first, gone)
	}
	records = records[:min(uint64(len(records)), head+1-first)]
	for i := range records {
		e, err := decode(r.at+1, records[i])
		if err != nil {
			r.skipUnreadable(records[i:], err)
			return // so that the buffer holds one snapshot at a time
		}
		r.take([]Event{e})
	}
}

// skipUnreadable moves over the records that cannot be read at the start of records. A later version may have written them.
func (r *Reader) skipUnreadable(records [][]byte, err error) {
	next := r.at + 2
	for _, data := range records[1:] {
		if _, err := decode(next, data); err == nil {
			break
		}
		next++
	}
	r.log.log.Error("events of the journal cannot be read", "events", next-1-r.at, "error", err)
	r.skip(next, "they cannot be read: a later version wrote them, or the journal is damaged")
}

// skip tells of the events before next that are gone, and then the state again. The log's mu is held.
func (r *Reader) skip(next uint64, why string) {
	count := next - 1 - r.at
	r.at = next - 1
	if r.devices != nil || len(r.kinds) > 0 {
		why += "; not all of them need have been of those that were asked for"
	}
	r.addGap(Gap{Count: count, Detail: why})
	r.addSnapshot()
}

// take moves over events and buffers those that were chosen. The log's mu is held, for the epoch.
func (r *Reader) take(events []Event) {
	for _, e := range events {
		r.at = e.Sequence
		if r.wants(e.Device) && (len(r.kinds) == 0 || slices.Contains(r.kinds, e.Body.Kind())) {
			r.add(e)
		}
	}
}

// wants tells whether a device was chosen. What concerns the whole sidecar, and so has no device, always is.
func (r *Reader) wants(id device.ID) bool {
	return r.devices == nil || r.devices[id] || id.IsZero()
}

// add buffers e with the place that the reader has reached. The log's mu is held.
func (r *Reader) add(e Event) {
	r.buffer = append(r.buffer, Entry{Cursor{r.log.epoch, r.at}, e})
}

// addGap buffers the news that events are missing. The log's mu is held.
func (r *Reader) addGap(g Gap) {
	r.log.figures.Gaps++
	r.add(Event{Time: time.Now(), Body: g})
}

// addSnapshot buffers the state now, in parts. The log's mu is held.
func (r *Reader) addSnapshot() {
	all := r.log.snapshot(r.wants)
	for {
		part := all[:min(len(all), snapshotPart)]
		all = all[len(part):]
		r.add(Event{Time: time.Now(), Body: Snapshot{Statuses: part, More: len(all) > 0}})
		if len(all) == 0 {
			return
		}
	}
}
