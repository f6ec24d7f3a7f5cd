package outbox

import (
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// Put takes messages, all in one sync, and returns when they are on disk. Each gets a receipt in box: Stored, or Failed and why; and
// another when it has ended. The first ones are given while mu is held: from then on a message may be sent, and end. The error is that
// of the disk, which the receipts tell too.
func (b *Box) Put(box *message.Mailbox, messages []message.Outgoing) error {
	p := putting{b: b, box: box, now: time.Now()}
	b.changing.RLock()
	b.mu.Lock()
	for _, m := range messages {
		p.take(m)
	}
	b.mu.Unlock()
	err := b.disk.ChangeQueue(p.changes)
	b.changing.RUnlock()
	b.mu.Lock()
	if err != nil {
		p.undo(err)
	} else {
		p.keep()
	}
	box.Put(p.receipts...)
	b.mu.Unlock()
	b.tell(p.evicted)
	b.ring()
	return err
}

// putting is one Put.
type putting struct {
	b        *Box
	box      *message.Mailbox
	now      time.Time
	fresh    []*Entry
	evicted  []*Entry // to make room
	changes  []message.Change
	receipts []message.Receipt
}

func (p *putting) fail(m message.Outgoing, err error) {
	p.receipts = append(p.receipts, message.Receipt{ID: m.ID, Outcome: message.Failed, Err: err})
}

// take makes an entry for a message, which is not to be sent before keep. mu is held.
func (p *putting) take(m message.Outgoing) {
	b := p.b
	if b.closed {
		p.fail(m, ErrForgotten)
		return
	}
	if m.Key != "" && p.known(m) {
		return
	}
	if m.TTL == 0 {
		m.TTL = b.o.TTL
	}
	e, record, err := newEntry(b.last+1, m, p.now)
	if err != nil {
		p.fail(m, err)
		return
	}
	if !p.room(e) {
		b.counters.Refused++
		p.fail(m, ErrFull)
		return
	}
	b.last++
	b.messages++
	b.bytes += int64(e.size)
	e.waiters = []waiter{{box: p.box, id: m.ID}}
	if e.key != "" {
		b.keys.pending[e.key] = e
	}
	b.levels[e.priority].add(e) // others may be on disk sooner, and are not to be sent sooner
	p.fresh = append(p.fresh, e)
	p.changes = append(p.changes, message.Change{Queue: b.queue, Sequence: e.sequence, Record: record})
}

// known answers for a message whose key is known. mu is held.
func (p *putting) known(m message.Outgoing) bool {
	e, end, found := p.b.keys.find(m)
	switch {
	case !found:
		return false
	case e == nil && end == nil:
		p.fail(m, ErrKeyConflict)
	case end != nil:
		p.receipts = append(p.receipts, message.Receipt{ID: m.ID, Outcome: end.Outcome, Err: end.err(), Sequence: end.sequence, Duplicate: true})
	default:
		e.waiters = slices.DeleteFunc(e.waiters, func(w waiter) bool { return w.box.Closed() }) // those who asked before and have gone
		e.waiters = append(e.waiters, waiter{box: p.box, id: m.ID, duplicate: true})
		if e.state != writing { // else keep tells all who wait
			p.box.Put(message.Receipt{ID: m.ID, Outcome: message.Stored, Sequence: e.sequence, Duplicate: true}) // now: it may end any time
		}
	}
	return true
}

// room sees to it that e has room, if need be and permitted at the cost of older messages. mu is held.
func (p *putting) room(e *Entry) bool {
	b := p.b
	fits := func(messages int, bytes int64) bool {
		return messages < b.o.MaxMessages && bytes+int64(e.size) <= b.o.MaxBytes
	}
	messages, bytes := b.messages, b.bytes
	if fits(messages, bytes) {
		return true
	}
	if !b.o.DropOldest || int64(e.size) > b.o.MaxBytes {
		return false
	}
	var victims []*Entry
	for i := range b.levels[:e.priority+1] { // a message makes no room for one that is worth less
		for _, old := range b.levels[i].entries {
			if old.state != waiting {
				continue
			}
			messages, bytes = messages-1, bytes-int64(old.size)
			if victims = append(victims, old); fits(messages, bytes) {
				p.evict(victims)
				return true
			}
		}
	}
	return false
}

func (p *putting) evict(victims []*Entry) {
	for _, v := range victims {
		v.state = leaving
		p.b.messages--
		p.b.bytes -= int64(v.size)
		p.changes = append(p.changes, message.Change{Queue: p.b.queue, Sequence: v.sequence})
	}
	p.evicted = append(p.evicted, victims...)
}

// keep makes what is on disk ready to be sent. mu is held.
func (p *putting) keep() {
	b := p.b
	for _, v := range p.evicted {
		if changes := b.finish(v, message.Dropped, ErrFull); len(changes) > 1 {
			b.unsaved = append(b.unsaved, changes[1:]...) // its key; the record itself is gone already
		}
	}
	for _, e := range p.fresh {
		if b.closed { // forgotten meanwhile
			e.state, e.outcome, e.why = gone, message.Dropped, ErrForgotten
		} else {
			e.state = waiting
			b.o.OnDisk.Since(e.m.Accepted)
			e.waitAnew()
			if b.cached += int64(e.size); b.cached > cacheBytes {
				b.cached -= int64(e.size)
				e.m = nil
			}
			b.counters.Stored++
		}
		for _, w := range e.waiters {
			r := message.Receipt{ID: w.id, Outcome: message.Stored, Sequence: e.sequence, Duplicate: w.duplicate}
			if e.state == gone {
				r.Outcome, r.Err = e.outcome, e.why
			}
			if w.box == p.box {
				p.receipts = append(p.receipts, r)
			} else {
				w.box.Put(r)
			}
		}
	}
}

// undo takes everything back: the disk did not take it. mu is held.
func (p *putting) undo(err error) {
	b := p.b
	for _, v := range p.evicted {
		if v.state == leaving {
			v.state = waiting
			b.messages++
			b.bytes += int64(v.size)
			b.levels[v.priority].next = 0
		}
	}
	p.evicted = nil
	for _, e := range p.fresh {
		e.state = gone
		b.messages--
		b.bytes -= int64(e.size)
		if e.key != "" {
			delete(b.keys.pending, e.key)
		}
		for _, w := range e.waiters {
			w.box.Put(message.Receipt{ID: w.id, Outcome: message.Failed, Err: err})
		}
	}
	for i := range b.levels { // an app that tries again and again while the disk is full must leave nothing behind
		b.levels[i].compact()
	}
}
