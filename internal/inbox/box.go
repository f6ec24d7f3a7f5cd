package inbox

import (
	"bytes"
	"container/heap"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Box is one inbox. All of it is guarded by the Shelf's mu.
type Box struct {
	shelf        *Shelf
	name         string
	queue, tries string // on disk

	settings  Settings
	last      uint64 // number given out
	trace     uint64 // the number that is remembered by a trace; 0 is none
	entries   map[uint64]*entry
	ready     bySequence
	later     byTime // delivered, or put off
	worn      []*entry
	stuck     bool // they cannot be moved, and that has been logged
	bytes     int64
	cached    int64
	missed    uint64
	delivery  uint64 // number given out
	consumers int
	changed   chan struct{} // closed and replaced when a consumer may have something to take
	gone      bool
}

func newBox(s *Shelf, name string) *Box {
	return &Box{
		shelf: s, name: name, queue: queueOf(s.id, name), tries: triesOf(s.id, name),
		entries: map[uint64]*entry{}, changed: make(chan struct{}),
	}
}

// read reads what is on disk.
func (b *Box) read() error {
	counts := map[uint64]int{}
	if err := b.shelf.disk.ScanQueue(b.tries, func(sequence uint64, record []byte) error {
		counts[sequence] = readTries(record)
		return nil
	}); err != nil {
		return err
	}
	var leaving []uint64
	err := b.shelf.disk.ScanQueue(b.queue, func(sequence uint64, record []byte) error {
		if sequence == 0 {
			if _, err := message.Decode(record, &b.settings); err != nil {
				b.shelf.log.Error("the filters of an inbox cannot be read; consume it with filters again", "inbox", b.name, "error", err)
			}
			return nil
		}
		b.last = sequence
		if bytes.Equal(record, trace) {
			if b.trace != 0 {
				leaving = append(leaving, b.trace)
			}
			b.trace = sequence
			return nil
		}
		m, err := decode(record)
		if err != nil {
			b.shelf.log.Error("a message of an inbox cannot be read and is dropped", "inbox", b.name, "sequence", sequence, "error", err)
			b.missed++
			leaving = append(leaving, sequence)
			return nil
		}
		e := &entry{sequence: sequence, topic: m.Topic, size: len(record), arrived: m.ReceivedAt, count: counts[sequence]}
		b.add(e)
		if b.isWorn(e) { // the sidecar was killed before it was moved
			b.take(e)
			b.worn = append(b.worn, e)
		}
		delete(counts, sequence)
		return nil
	})
	for sequence := range counts { // written after the message was dealt with
		b.shelf.unsaved = append(b.shelf.unsaved, message.Change{Queue: b.tries, Sequence: sequence})
	}
	for _, sequence := range leaving {
		b.shelf.unsaved = append(b.shelf.unsaved, b.remove(sequence)...)
	}
	return err
}

// trace is the record that the message with the greatest number leaves: without it a restart would give the number again, and an app
// that remembers what it has dealt with would take a new message for an old one.
var trace = []byte{0}

// remove is what is to be changed on disk for a message to leave it.
func (b *Box) remove(sequence uint64) []message.Change {
	if sequence != b.last {
		return []message.Change{{Queue: b.queue, Sequence: sequence}}
	}
	changes := []message.Change{{Queue: b.queue, Sequence: sequence, Record: trace}}
	if b.trace != 0 && b.trace != sequence {
		changes = append(changes, message.Change{Queue: b.queue, Sequence: b.trace})
	}
	b.trace = sequence
	return changes
}

func (b *Box) wants(topic string) bool { return platform.MatchAny(b.settings.Filters, topic) }

// add makes a message ready for a consumer.
func (b *Box) add(e *entry) {
	b.entries[e.sequence] = e
	b.bytes += int64(e.size)
	if e.m != nil {
		if b.cached += int64(e.size); b.cached > cacheBytes {
			b.cached -= int64(e.size)
			e.m = nil
		}
	}
	heap.Push(&b.ready, e)
	b.tell()
}

func (b *Box) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// take removes e from the heap that it is in.
func (b *Box) take(e *entry) {
	switch {
	case e.place >= 0 && e.place < len(b.ready) && b.ready[e.place] == e:
		heap.Remove(&b.ready, e.place)
	case e.place >= 0 && e.place < len(b.later) && b.later[e.place] == e:
		heap.Remove(&b.later, e.place)
	}
}

// forget takes a message out, and returns what is to be changed on disk.
func (b *Box) forget(e *entry) []message.Change {
	if b.entries[e.sequence] != e {
		return nil
	}
	b.take(e)
	delete(b.entries, e.sequence)
	b.bytes -= int64(e.size)
	if e.m != nil {
		b.cached -= int64(e.size)
		e.m = nil
	}
	e.delivery = 0
	changes := b.remove(e.sequence)
	if e.count > 0 {
		changes = append(changes, message.Change{Queue: b.tries, Sequence: e.sequence})
	}
	return changes
}

// makeRoom drops the oldest messages that are not with a consumer, until the bounds hold.
func (b *Box) makeRoom() (changes []message.Change) {
	o := b.shelf.o
	for len(b.entries) > o.MaxMessages || b.bytes > o.MaxBytes {
		e := b.oldest()
		if e == nil {
			break
		}
		changes = append(changes, b.forget(e)...)
		b.missed++
		b.shelf.losses.Full++
		b.shelf.losses.Topic = e.topic
	}
	return changes
}

// oldest is the one to make room: the first that is ready, if there is another behind it, or else the first that is put off.
func (b *Box) oldest() (e *entry) {
	if len(b.ready) > 1 {
		return b.ready[0]
	}
	for _, other := range b.later {
		if other.delivery == 0 && (e == nil || other.sequence < e.sequence) {
			e = other
		}
	}
	return e
}

// isWorn reports whether e was delivered too often.
func (b *Box) isWorn(e *entry) bool {
	return b.settings.MaxDeliveries > 0 && e.count >= b.settings.MaxDeliveries
}

// comeBack ends a delivery that came to nothing: the message is ready again at a time. It returns what is to be changed on disk.
func (b *Box) comeBack(e *entry, at time.Time) []message.Change {
	b.take(e)
	e.delivery = 0
	e.count++
	switch {
	case b.isWorn(e):
		b.worn = append(b.worn, e)
	case at.After(time.Now()):
		e.due = at
		heap.Push(&b.later, e)
	default:
		heap.Push(&b.ready, e)
	}
	b.tell()
	return []message.Change{{Queue: b.tries, Sequence: e.sequence, Record: tries(e.count)}}
}

func (b *Box) comeBackNow(e *entry) []message.Change { return b.comeBack(e, time.Time{}) }

// takeBack makes it as if a delivery had not been.
func (b *Box) takeBack(e *entry) []message.Change {
	b.take(e)
	e.delivery = 0
	heap.Push(&b.ready, e)
	b.tell()
	return nil
}

// wake makes ready what is due, and returns what is to be changed on disk.
func (b *Box) wake(now time.Time) (changes []message.Change) {
	for len(b.later) > 0 && !now.Before(b.later[0].due) {
		e := b.later[0]
		if e.delivery != 0 { // no answer came in time
			changes = append(changes, b.comeBack(e, now)...)
			continue
		}
		b.take(e)
		heap.Push(&b.ready, e)
		b.tell()
	}
	return changes
}

// end is for an inbox that was deleted.
func (b *Box) end() {
	b.gone = true
	b.tell()
}

func (b *Box) info() Info {
	i := Info{Name: b.name, Settings: b.settings, Messages: len(b.entries), Bytes: b.bytes, Consumers: b.consumers}
	for _, e := range b.entries {
		if i.Oldest.IsZero() || e.arrived.Before(i.Oldest) {
			i.Oldest = e.arrived
		}
		if e.delivery != 0 {
			i.Unanswered++
		}
	}
	return i
}
