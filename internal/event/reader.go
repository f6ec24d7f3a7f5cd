package event

import (
	"context"
	"fmt"
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
		r.add(Event{Time: time.Now(), Body: Gap{Detail: "the cursor is of another journal; what this journal holds follows"}})
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
	return nil, r.fillFromJournal(head)
}

func (r *Reader) fillFromJournal(head uint64) error {
	first, records, err := r.log.journal.ReadEvents(r.at, readAtOnce)
	if err != nil {
		return fmt.Errorf("reading the event journal: %w", err)
	}
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if len(records) == 0 { // the journal has nothing more, so what is missing never reached it or has left it
		next := head + 1
		if n := len(r.log.ring); n > 0 {
			next = r.log.ring[0].Sequence
		}
		r.skip(next)
		return nil
	}
	if first > r.at+1 {
		r.skip(first)
	}
	for i, data := range records {
		e, err := decode(first+uint64(i), data)
		if err != nil {
			r.log.log.Error("an event of the journal cannot be read", "error", err)
			r.skip(first + uint64(i) + 1)
			continue
		}
		r.take([]Event{e})
	}
	return nil
}

// skip tells of the events before next that are gone, and then the state again. The log's mu is held.
func (r *Reader) skip(next uint64) {
	count := next - 1 - r.at
	if count == 0 {
		return
	}
	r.at = next - 1
	r.add(Event{Time: time.Now(), Body: Gap{Count: count, Detail: "they had left the journal before they were read, or could not be stored"}})
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

func (r *Reader) wants(id device.ID) bool { return r.devices == nil || r.devices[id] }

// add buffers e with the place that the reader has reached. The log's mu is held.
func (r *Reader) add(e Event) {
	r.buffer = append(r.buffer, Entry{Cursor{r.log.epoch, r.at}, e})
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
