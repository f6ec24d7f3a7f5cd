package event

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Journal keeps events on disk, by consecutive sequence numbers from 1, and forgets the oldest.
type Journal interface {
	// Epoch is the journal's name: another epoch is another journal.
	Epoch() string
	// LastSequence is that of the newest event; 0 when there is none.
	LastSequence() (uint64, error)
	// AppendEvents stores records durably, numbered from first.
	AppendEvents(first uint64, records [][]byte) error
	// ReadEvents returns the oldest records after a sequence number, at most limit, without a hole among them; first is the
	// number of the first.
	ReadEvents(after uint64, limit int) (first uint64, records [][]byte, err error)
}

const (
	// ringSize is how many of the newest events stay in memory: readers that keep up never touch the disk.
	ringSize = 1024
	// maxPending is how many events wait for a disk that hangs: as many as the journal would keep of them anyway. What comes
	// beyond is dropped, and readers are told how much.
	maxPending = 16384
	// Events that follow each other share the two fsyncs of a transaction: after a batch of more than few the next one waits for gatherFor.
	// What comes for one device at once is few. A batch of many shares them well enough, and readers would find the ring too short.
	few, many = 4, ringSize / 4
	gatherFor = 5 * time.Millisecond
)

// ErrClosed ends readers when the log closes.
var ErrClosed = errors.New("the event log is closed: the sidecar is stopping")

// Log fans events out to readers. Make one with New.
type Log struct {
	journal Journal
	log     *slog.Logger
	wake    chan struct{} // rings for Run; carries no data

	mu      sync.Mutex
	pending []published
	next    uint64 // number of the next event to be published
	// overflow is what came while pending was full: the newest of each device, for its status. The numbers are used up all the
	// same, so that the hole can be seen and counted.
	overflow map[device.ID]published

	// What readers see, up to and including head.
	head     uint64
	ring     []Event // the newest events without a hole; ring[len-1].Sequence == head unless it is empty
	statuses map[device.ID]Status
	epoch    string        // of the cursors given out now: the journal's, or stray
	onDisk   bool          // the journal has come as far as head, so a restarted sidecar gives out none of these numbers again
	stray    string        // the epoch of cursors while not onDisk; "" before the first time
	bell     chan struct{} // closed and replaced when head moves or the log closes
	closed   bool
	figures  Figures
}

type published struct {
	event  Event
	status Status
}

// New makes a log that goes on where the journal ends.
func New(journal Journal, log *slog.Logger) (*Log, error) {
	last, err := journal.LastSequence()
	if err != nil {
		return nil, err
	}
	return &Log{
		journal: journal, log: log, wake: make(chan struct{}, 1),
		next: last + 1, head: last, statuses: map[device.ID]Status{}, epoch: journal.Epoch(), onDisk: true,
		bell: make(chan struct{}),
	}, nil
}

// Know tells readers of a device to which nothing has happened yet.
func (l *Log) Know(s Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[s.Device] = s
}

// Publish adds what happened; after is the device's status since then. It never blocks. An event of the zero device concerns
// the sidecar as a whole: every reader that wants its kind is told, and it leaves no status. Nor does one whose status has no
// State: its device is not known, or no longer.
func (l *Log) Publish(body Body, after Status) {
	l.mu.Lock()
	p := published{Event{Sequence: l.next, Time: time.Now(), Device: after.Device, Body: body}, after}
	l.next++
	l.figures.Published[body.Kind()]++
	if len(l.pending) < maxPending {
		l.pending = append(l.pending, p)
	} else {
		if l.overflow == nil {
			l.overflow = map[device.ID]published{}
		}
		l.overflow[p.event.Device] = p
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run stores and shows what is published until ctx ends, and what was published before that.
func (l *Log) Run(ctx context.Context) {
	for {
		select {
		case <-l.wake:
			if n := l.flush(); n > few && n < many {
				select {
				case <-time.After(gatherFor):
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
			l.flush()
			return
		}
	}
}

// flush stores and shows everything pending, and tells how much that was. Only Run calls it.
func (l *Log) flush() int {
	l.mu.Lock()
	batch, overflow, last := l.pending, l.overflow, l.next-1
	l.pending, l.overflow = nil, nil
	l.mu.Unlock()
	if len(batch) == 0 {
		return 0
	}
	err := l.store(batch)
	lost := last - batch[len(batch)-1].event.Sequence

	epoch := l.show(batch, overflow, last, lost, err)
	for _, p := range batch {
		l.tell(p, epoch)
	}
	return len(batch)
}

// show lets readers see what was published, and returns the epoch of its cursors.
func (l *Log) show(batch []published, overflow map[device.ID]published, last, lost uint64, err error) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteDisk(err, uint64(len(batch)), lost)
	for _, p := range batch {
		l.apply(p)
	}
	for _, p := range overflow {
		l.apply(p)
	}
	l.head = last
	if lost > 0 {
		l.ring = nil // it must have no hole; readers find the batch in the journal
	} else {
		l.remember(batch)
	}
	l.ringBell()
	return l.epoch
}

// noteDisk takes note of whether the journal has come as far as the numbers given out. While it has not, a restarted sidecar
// would give the same numbers to other events, so cursors name an epoch that it will not know. mu is held.
func (l *Log) noteDisk(err error, shown, lost uint64) {
	l.figures.Dropped += lost
	if err != nil {
		l.figures.Unstored += shown
	}
	if lost > 0 {
		l.log.Error("the disk did not keep up: events were dropped, readers are told", "events", lost)
	}
	switch onDisk := err == nil && lost == 0; {
	case onDisk && !l.onDisk:
		l.log.Info("events are written to the journal again")
		l.onDisk, l.epoch = true, l.journal.Epoch()
	case !onDisk && l.onDisk:
		if err != nil {
			l.log.Error("events cannot be written to the journal; readers that are away will be told of a gap", "error", err)
		}
		if l.stray == "" {
			l.stray = l.journal.Epoch() + "-" + rand.Text()[:8]
		}
		l.onDisk, l.epoch = false, l.stray
	}
}

// apply makes the status that came with an event the one that snapshots tell. mu is held.
func (l *Log) apply(p published) {
	_, gone := p.event.Body.(Forgotten)
	if gone || p.status.State == 0 { // forgotten, never known, or not about a device at all
		delete(l.statuses, p.event.Device)
		return
	}
	l.statuses[p.event.Device] = p.status
}

// remember adds events to the ring. mu is held.
func (l *Log) remember(batch []published) {
	for _, p := range batch[max(0, len(batch)-ringSize):] {
		l.ring = append(l.ring, p.event)
	}
	if extra := len(l.ring) - ringSize; extra > 0 {
		l.ring = slices.Delete(l.ring, 0, extra)
	}
}

func (l *Log) store(batch []published) error {
	records := make([][]byte, len(batch))
	for i, p := range batch {
		data, err := encode(p.event)
		if err != nil {
			return err
		}
		records[i] = data
	}
	return l.journal.AppendEvents(batch[0].event.Sequence, records)
}

// ringBell wakes every reader. mu is held.
func (l *Log) ringBell() {
	close(l.bell)
	l.bell = make(chan struct{})
}

// CloseReaders ends every reader with ErrClosed, now and from now on. Publish and Run go on.
func (l *Log) CloseReaders() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.ringBell()
	}
}

// snapshot is the status of the chosen devices at head, in order. mu is held.
func (l *Log) snapshot(chosen func(device.ID) bool) []Status {
	var all []Status
	for id, s := range l.statuses {
		if chosen(id) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return compareIDs(a.Device, b.Device) })
	return all
}

func compareIDs(a, b device.ID) int {
	return cmp.Or(cmp.Compare(a.ProductKey, b.ProductKey), cmp.Compare(a.DeviceName, b.DeviceName))
}

// knows reports whether cursors of this epoch mean what they say. mu is held.
func (l *Log) knows(epoch string) bool {
	return epoch == l.journal.Epoch() || l.stray != "" && epoch == l.stray
}
