package inbox

import (
	"container/heap"
	"maps"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// Verdict is what an app has made of a message; the numbers are those of linkkit_sidecar.v1.Verdict.
type Verdict int

// The verdicts.
const (
	Done  Verdict = iota + 1 // dealt with
	Retry                    // to come again, after a delay
	Drop                     // of no use
)

// Answer is an app's verdict on one delivery.
type Answer struct {
	Delivery uint64
	Verdict  Verdict
	Delay    time.Duration
}

// Delivery is one message, for the app to answer.
type Delivery struct {
	Number   uint64 // for the answer
	Message  message.Incoming
	Count    int    // how often it was delivered, this time included
	Sequence uint64 // of the message in its inbox
}

// Batch is what a consumer has to take.
type Batch struct {
	Missed     uint64 // messages that the inbox dropped
	Deliveries []Delivery
}

// batchSize is how many deliveries a Batch has at most.
const batchSize = 64

// Consumer is one stream that consumes an inbox. It is for one goroutine that takes and one that answers.
type Consumer struct {
	b          *Box
	visibility time.Duration
	limit      int // of deliveries without an answer
	out        map[uint64]*entry
}

// Consume begins to consume. Close it.
func (b *Box) Consume(visibility time.Duration, limit int) *Consumer {
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	b.consumers++
	return &Consumer{b: b, visibility: visibility, limit: limit, out: map[uint64]*entry{}}
}

// Filters are those of the inbox.
func (c *Consumer) Filters() []string {
	c.b.shelf.mu.Lock()
	defer c.b.shelf.mu.Unlock()
	return c.b.settings.Filters
}

// Now returns what there is to take. When that is nothing: a channel that is closed when there may be more, and when to ask again at
// the latest, if that is not zero. The error is ErrUnknown when the inbox was deleted, or the disk's.
func (c *Consumer) Now() (batch Batch, changed <-chan struct{}, next time.Time, err error) {
	b, s := c.b, c.b.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.gone {
		return Batch{}, nil, time.Time{}, ErrUnknown
	}
	now := time.Now()
	s.unsaved = append(s.unsaved, b.wake(now)...) // written by the next Tick: a count that is lost does no harm
	if len(c.out) >= c.limit {                    // a delivery whose time has passed is no longer this consumer's
		maps.DeleteFunc(c.out, func(delivery uint64, e *entry) bool { return e.delivery != delivery })
	}
	for len(batch.Deliveries) < batchSize && len(c.out) < c.limit && len(b.ready) > 0 {
		e := b.ready[0]
		if e.m == nil {
			switch err := b.load(); {
			case err != nil && len(batch.Deliveries) > 0:
				return batch, b.changed, now, nil // the next call says why
			case err != nil:
				return Batch{}, nil, time.Time{}, err
			}
			continue // whatever is first now
		}
		b.take(e)
		b.delivery++
		e.delivery, e.due = b.delivery, now.Add(c.visibility)
		heap.Push(&b.later, e)
		c.out[e.delivery] = e
		s.o.Counters.count(e)
		batch.Deliveries = append(batch.Deliveries, Delivery{Number: e.delivery, Message: *e.m, Count: e.count + 1, Sequence: e.sequence})
	}
	if len(b.later) > 0 {
		next = b.later[0].due
	}
	batch.Missed, b.missed = b.missed, 0
	return batch, b.changed, next, nil
}

// Answer takes verdicts. It returns the deliveries whose answer changed nothing, and those that are dealt with for good and on disk.
func (c *Consumer) Answer(answers []Answer) (stale, settled []uint64) {
	b, s := c.b, c.b.shelf
	var changes []message.Change
	var ended []uint64
	s.mu.Lock()
	now := time.Now()
	for _, a := range answers {
		e := c.out[a.Delivery]
		delete(c.out, a.Delivery)
		if e == nil || e.delivery != a.Delivery || b.gone {
			stale = append(stale, a.Delivery)
			continue
		}
		switch a.Verdict {
		case Retry:
			changes = append(changes, b.comeBack(e, now.Add(a.Delay))...)
			continue
		case Drop:
			s.losses.Dropped++
			s.losses.Topic = e.topic
		case Done:
		}
		changes = append(changes, b.forget(e)...)
		ended = append(ended, a.Delivery)
	}
	if len(answers) > 0 {
		b.tell() // there is room for more deliveries
	}
	s.mu.Unlock()
	if len(changes) > 0 && s.save(changes) {
		settled = ended
	}
	return stale, settled
}

// Close ends the consumer. What it has not answered comes again at once.
func (c *Consumer) Close() { c.close((*Box).comeBackNow) }

// CutShort is Close because the sidecar ends: the deliveries without an answer are not counted.
func (c *Consumer) CutShort() { c.close((*Box).takeBack) }

func (c *Consumer) close(end func(*Box, *entry) []message.Change) {
	b, s := c.b, c.b.shelf
	s.mu.Lock()
	b.consumers--
	var changes []message.Change
	for delivery, e := range c.out {
		if e.delivery == delivery && !b.gone {
			changes = append(changes, end(b, e)...)
		}
	}
	c.out = nil
	s.mu.Unlock()
	if len(changes) > 0 {
		s.save(changes)
	}
}

// load reads the payloads of messages that are ready, from the first on. mu is held, and let go while the disk is read.
func (b *Box) load() error {
	var some []*entry
	var sequences []uint64
	room := int64(cacheBytes)
	for len(b.ready) > 0 && len(some) < batchSize {
		e := b.ready[0]
		if room -= int64(e.size); len(some) > 0 && room < 0 {
			break
		}
		b.take(e)
		some, sequences = append(some, e), append(sequences, e.sequence)
	}
	for _, e := range some {
		heap.Push(&b.ready, e)
	}
	b.shelf.mu.Unlock()
	records, err := b.shelf.disk.ReadQueue(b.queue, sequences)
	b.shelf.mu.Lock()
	if err != nil {
		return err
	}
	for i, e := range some {
		if b.entries[e.sequence] != e || e.m != nil {
			continue
		}
		m, err := decode(records[i])
		if err != nil {
			b.shelf.log.Error("a message of an inbox cannot be read and is dropped", "inbox", b.name, "sequence", e.sequence, "error", err)
			b.shelf.unsaved = append(b.shelf.unsaved, b.forget(e)...)
			b.missed++
			continue
		}
		e.m = &m
		b.cached += int64(e.size)
	}
	return nil
}
