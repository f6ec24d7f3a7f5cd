package conn

import (
	"errors"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
)

// errNoQueues: the sidecar was built without a place on disk for messages.
var errNoQueues = errors.New("this sidecar keeps no messages on disk")

// openOutbox is the device's outbox, made when there is none.
func (k *Keeper) openOutbox() (*outbox.Box, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.outbox != nil:
		return k.outbox, nil
	case k.dead:
		return nil, ErrUnknownDevice
	case k.env.queues == nil:
		return nil, errNoQueues
	}
	box, err := outbox.Open(k.id, k.env.queues, k.env.outbox, k.lanes.ring, k.env.log)
	if err != nil {
		return nil, err
	}
	k.outbox = box
	return box, nil
}

// theOutbox is the device's outbox, or nil.
func (k *Keeper) theOutbox() *outbox.Box {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.outbox
}

// tick does what is due every second.
func (k *Keeper) tick(now time.Time) {
	if box := k.theOutbox(); box != nil {
		k.tellEnded(box.Tick(now))
	}
	k.tickInboxes(now)
	k.tellDrops(now)
}

// tellEnded tells how STORED messages have ended.
func (k *Keeper) tellEnded(all []outbox.Ended) {
	for _, e := range all {
		k.env.measures.ended[endingOf(e)].Add(e.Count)
		told := event.StoredEnded{Outcome: int(e.Outcome), Reason: endReason(e.Why), Count: e.Count}
		for _, r := range e.Ranges {
			told.Ranges = append(told.Ranges, event.SequenceRange{First: r.First, Last: r.Last})
		}
		k.mu.Lock()
		k.env.events.Publish(told, k.statusLocked())
		k.mu.Unlock()
	}
}

func endReason(why error) event.EndReason {
	switch {
	case errors.Is(why, outbox.ErrExpired):
		return event.EndExpired
	case errors.Is(why, outbox.ErrFull):
		return event.EndMadeRoom
	case errors.Is(why, outbox.ErrForgotten):
		return event.EndForgotten
	case errors.Is(why, outbox.ErrUnreadable):
		return event.EndUnreadable
	}
	return 0
}

// dropOutbox removes all STORED messages: the device is being forgotten.
func (k *Keeper) dropOutbox() error {
	k.mu.Lock()
	box := k.outbox
	k.outbox, k.dead = nil, true
	if box != nil { // it takes no more; what Drop does to its counters is nothing that the device would count
		addOutbox(&k.status.Counters, box.Status().Counters)
	}
	k.mu.Unlock()
	switch {
	case k.env.queues == nil:
		return nil
	case box == nil: // keys may be left, or what an earlier try to forget it did not get rid of
		return outbox.Remove(k.id, k.env.queues)
	}
	told, err := box.Drop()
	k.tellEnded(told)
	return err
}
