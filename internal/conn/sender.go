package conn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
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
	pending pending
	qos     byte
	lane    *lane // who sent it
	id      uint64
}

// sender sends one device's messages over one link: so many at once, the lanes in turn.
type sender struct {
	k       *Keeper
	l       link
	slots   chan struct{} // one for each message that may be under way
	flights chan flight   // in the order in which they were sent
}

// send runs a sender until ctx ends or the link does. What is under way when ctx ends is waited for, for a while.
func (k *Keeper) send(ctx context.Context, l link, window int) {
	s := &sender{k: k, l: l, slots: make(chan struct{}, window), flights: make(chan flight, window)}
	var landing sync.WaitGroup
	landing.Go(func() { s.land(ctx) })
	s.loop(ctx)
	k.lanes.close(ErrNotOnline) // what waits was not sent
	close(s.flights)
	landing.Wait()
}

func (s *sender) loop(ctx context.Context) {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		case <-s.l.Done():
			return
		}
		f, ok := s.take(ctx)
		if !ok {
			return
		}
		s.flights <- f // has room: there is one for each slot
	}
}

// take waits for the next message and hands it to the link.
func (s *sender) take(ctx context.Context) (flight, bool) {
	for {
		if ctx.Err() != nil {
			return flight{}, false
		}
		if l, m, ok := s.k.lanes.take(); ok {
			return flight{pending: s.l.Publish(m.Topic, m.QoS, m.Payload), qos: m.QoS, lane: l, id: m.ID}, true
		}
		select {
		case <-s.k.lanes.bell:
		case <-ctx.Done():
		case <-s.l.Done():
			return flight{}, false
		}
	}
}

// land waits for what becomes of each message, in their order, and tells. The platform acknowledges in that order too.
func (s *sender) land(ctx context.Context) {
	over := make(chan struct{}) // closed when ctx has ended and the wait for the rest has
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainTimeout, func() { close(over) }) })
	defer stop()
	timer := time.NewTimer(ackTimeout)
	defer timer.Stop()
	for f := range s.flights {
		timer.Reset(ackTimeout)
		f.lane.box.Put(f.receipt(s.outcome(f, over, timer.C)))
		<-s.slots
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
