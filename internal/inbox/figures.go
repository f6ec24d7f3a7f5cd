package inbox

import (
	"strings"
	"sync/atomic"
	"time"
)

// Counters count deliveries to consumers.
type Counters struct {
	Delivered   atomic.Uint64 // the first time and again
	Redelivered atomic.Uint64 // of these, those of messages that were delivered for nothing before
}

func (c *Counters) count(e *entry) {
	c.Delivered.Add(1)
	if e.count > 0 {
		c.Redelivered.Add(1)
	}
}

// Figures are the numbers of inboxes together.
type Figures struct {
	Boxes, Consumers int
	Messages         int // without dead letters
	Out              int // of these, those that a consumer has, or that were put off
	DeadLetters      int
	Bytes            int64
	Oldest           time.Time // arrival of the oldest message that is no dead letter; zero when there is none
	Fullest          float64   // the part that is used of the fullest one's bounds

	Delivered, Redelivered uint64 // not a Shelf's: see Counters
}

// Add adds those of other inboxes.
func (f *Figures) Add(other Figures) {
	f.Boxes += other.Boxes
	f.Consumers += other.Consumers
	f.Messages += other.Messages
	f.Out += other.Out
	f.DeadLetters += other.DeadLetters
	f.Bytes += other.Bytes
	f.note(other.Oldest)
	f.Fullest = max(f.Fullest, other.Fullest)
	f.Delivered += other.Delivered
	f.Redelivered += other.Redelivered
}

func (f *Figures) note(arrived time.Time) {
	if !arrived.IsZero() && (f.Oldest.IsZero() || arrived.Before(f.Oldest)) {
		f.Oldest = arrived
	}
}

// Figures are the numbers of the device's inboxes. Unlike List it does not go through all messages: what is ready is in the order in
// which it arrived, so the first of them is the oldest.
func (s *Shelf) Figures() (f Figures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boxes {
		f.Boxes++
		f.Consumers += b.consumers
		f.Bytes += b.bytes
		f.Fullest = max(f.Fullest, float64(len(b.entries))/float64(s.o.MaxMessages), float64(b.bytes)/float64(s.o.MaxBytes))
		if strings.HasSuffix(b.name, dead) {
			f.DeadLetters += len(b.entries)
			continue
		}
		f.Messages += len(b.entries)
		f.Out += len(b.later)
		if len(b.ready) > 0 {
			f.note(b.ready[0].arrived)
		}
		for _, e := range b.later {
			f.note(e.arrived)
		}
	}
	return f
}
