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

// ringSize is how many of the newest events stay in memory: readers that keep up never touch the disk.
const ringSize = 1024

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

	// What readers see, up to and including head.
	head     uint64
	ring     []Event // the newest events, ring[len-1].Sequence == head
	statuses map[device.ID]Status
	epoch    string
	onDisk   bool          // every number up to head was given to the journal
	bell     chan struct{} // closed and replaced when head moves or the log closes
	closed   bool
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

// Publish adds what happened; after is the device's status since then. It never blocks.
func (l *Log) Publish(body Body, after Status) {
	l.mu.Lock()
	l.pending = append(l.pending, published{Event{Sequence: l.next, Time: time.Now(), Device: after.Device, Body: body}, after})
	l.next++
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
			l.flush()
		case <-ctx.Done():
			l.flush()
			return
		}
	}
}

// flush stores and shows everything pending. Only Run calls it.
func (l *Log) flush() {
	l.mu.Lock()
	batch := l.pending
	l.pending = nil
	l.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := l.store(batch)
	if err != nil {
		l.log.Error("events could not be written to the journal; readers that are away will be told of a gap", "events", len(batch), "error", err)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.onDisk {
		// A restarted sidecar will give these numbers out again. Cursors from now on name an epoch that it will not know.
		l.onDisk, l.epoch = false, l.epoch+"-"+rand.Text()[:8]
	}
	for _, p := range batch {
		l.ring = append(l.ring, p.event)
		if _, gone := p.event.Body.(Forgotten); gone {
			delete(l.statuses, p.event.Device)
		} else {
			l.statuses[p.event.Device] = p.status
		}
	}
	if extra := len(l.ring) - ringSize; extra > 0 {
		l.ring = slices.Delete(l.ring, 0, extra)
	}
	l.head = batch[len(batch)-1].event.Sequence
	l.ringBell()
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
func (l *Log) knows(epoch string) bool { return epoch == l.epoch || epoch == l.journal.Epoch() }

