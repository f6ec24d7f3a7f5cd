package conn

import (
	"context"
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

const (
	// ackTimeout is how long the platform may take to acknowledge the oldest message under way. MQTT 3.1.1 has no way to ask again
	// on the same link, so a link on which acknowledgements stop is ended.
	ackTimeout = time.Minute
	// drainTimeout is how long a link that is closed on request waits for the acknowledgements of what is under way.
	drainTimeout = 5 * time.Second
)

// flight is one message that was handed to the link.
type flight struct {
	pending  pending
	qos      byte
	entry    *outbox.Entry // of a STORED message
	lane     *lane         // or else who sent it
	id       uint64
	accepted time.Time
	span     *trace.Span // nil: not recorded
}

// sender sends one device's messages over one link: so many at once, the lanes in turn, and the outbox in turn with the lanes.
type sender struct {
	k       *Keeper
	l       link
	traced  trace.Link
	slots   chan struct{}          // one for each message that may be under way
	flights errands[flight]        // in the order in which they were sent
	settled errands[*outbox.Entry] // those of the outbox that have landed
	turn    bool                   // whether it is the outbox's
}

// newSender makes a sender, whose loop sends until ctx ends or the link does. Call its finish then.
func (k *Keeper) newSender(ctx context.Context, l link, window int) *sender {
	s := &sender{k: k, l: l, traced: k.tracedLink(), slots: make(chan struct{}, window)}
	s.flights.run = func(next func() []flight) { s.land(ctx, next) }
	s.settled.run = s.settle
	return s
}

// finish waits for what is under way, for a while.
func (s *sender) finish() {
	s.flights.finish()
	s.settled.finish()
}

// loop sends what there is, each time that it is called.
func (s *sender) loop(ctx context.Context, next func() []struct{}) {
	for calls := next(); len(calls) > 0; calls = next() {
		for s.slot(ctx) {
			if !s.dispatch(ctx) {
				<-s.slots
				break
			}
		}
		s.l.More(false)
	}
}

// slot waits until another message may be under way.
func (s *sender) slot(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	s.l.More(false)
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-s.l.Done():
	}
	return false
}

// dispatch hands the next message to the link; it reports false when there is none, or not any more.
func (s *sender) dispatch(ctx context.Context) bool {
	if isOver(ctx, s.l) {
		return false
	}
	f, m, ok := s.next()
	if !ok {
		return false
	}
	if !s.k.shaper.free() {
		s.l.More(false)
	}
	if !s.k.shaper.hold(ctx, len(m.Topic)+len(m.Payload), s.l.Done()) {
		s.giveBack(f)
		return false
	}
	if m.Trace != nil {
		f.span = s.k.env.tracer.Send(m, s.k.id, s.traced)
	}
	s.l.More(true)
	f.pending, f.qos, f.accepted = s.l.Publish(m.Topic, m.QoS, m.Payload), m.QoS, m.Accepted
	s.k.env.measures.of(&f).sent.Since(f.accepted)
	s.k.tally.flying.Add(1)
	s.flights.add(f)
	return true
}

// next is the message whose turn it is.
func (s *sender) next() (flight, message.Outgoing, bool) {
	for range 2 {
		if s.turn = !s.turn; s.turn {
			if box := s.k.theOutbox(); box != nil {
				if e, m, ok := box.Next(); ok {
					return flight{entry: e}, m, true
				}
			}
		} else if l, m, ok := s.k.lanes.take(); ok {
			return flight{lane: l, id: m.ID}, m, true
		}
	}
	return flight{}, message.Outgoing{}, false
}

// giveBack is for a message that was not handed to the link after all.
func (s *sender) giveBack(f flight) {
	if f.entry != nil {
		s.giveBackStored(f.entry)
		return
	}
	f.lane.box.Put(message.Receipt{ID: f.id, Outcome: message.Failed, Err: ErrNotOnline})
}

func (s *sender) giveBackStored(e *outbox.Entry) {
	if box := s.k.theOutbox(); box != nil { // else the device was forgotten
		box.Return(e)
	}
}

// settle takes what has landed out of the outbox: as much at once as has come together.
func (s *sender) settle(next func() []*outbox.Entry) {
	for some := next(); len(some) > 0; some = next() {
		if box := s.k.theOutbox(); box != nil {
			box.Settle(some)
		}
	}
}

// land waits for what becomes of each message, in their order, and tells. The platform acknowledges in that order too.
func (s *sender) land(ctx context.Context, next func() []flight) {
	over := make(chan struct{}) // closed when ctx has ended and the wait for the rest has
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainTimeout, func() { close(over) }) })
	defer stop()
	timer := time.NewTimer(ackTimeout)
	defer timer.Stop()
	for some := next(); len(some) > 0; some = next() {
		for _, f := range some {
			timer.Reset(ackTimeout)
			s.landed(&f, s.outcome(f, over, timer.C))
			<-s.slots
		}
	}
}

// landed tells what has become of a message: err is why it is not acknowledged.
func (s *sender) landed(f *flight, err error) {
	f.span.End(traceKind(err), err)
	s.k.tally.flying.Add(-1)
	if err == nil {
		s.k.tally.sent.Add(1)
		if f.qos > 0 { // nobody acknowledges the others
			s.k.env.measures.of(f).acknowledged.Since(f.accepted)
		}
	} else {
		s.k.tally.unknown.Add(1)
	}
	switch {
	case f.entry == nil:
		f.lane.box.Put(f.receipt(err))
	case err == nil:
		s.settled.add(f.entry)
	default:
		s.giveBackStored(f.entry)
	}
}

// outcome is why a message is not acknowledged, or nil when it is.
func (s *sender) outcome(f flight, over <-chan struct{}, late <-chan time.Time) error {
	select { // what is acknowledged is so, whatever else has happened since
	case <-f.pending.Done():
		return s.lost(f.pending.Error())
	default:
	}
	select {
	case <-f.pending.Done():
		return s.lost(f.pending.Error())
	case <-s.l.Done():
		return s.lost(s.l.Failure())
	case <-over:
		return ErrUnacknowledged
	case <-late:
		failure := &Failure{Cause: event.CauseAckTimeout, Detail: fmt.Sprintf("the platform did not acknowledge a message for %s", ackTimeout)}
		s.l.Abort(failure)
		return s.lost(failure)
	}
}

func (s *sender) lost(err error) error {
	if err == nil {
		return nil
	}
	if f := s.l.Failure(); f != nil {
		err = f // says more than the library does
	}
	return fmt.Errorf("%w: %w", ErrUnacknowledged, err)
}

func (f flight) receipt(err error) message.Receipt {
	r := message.Receipt{ID: f.id, Outcome: message.Acknowledged, Err: err}
	switch {
	case err != nil:
		r.Outcome = message.Unknown
	case f.qos == 0:
		r.Outcome = message.Sent
	}
	return r
}
