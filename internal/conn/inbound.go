package conn

import (
	"maps"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// inbound hands a message from the platform to those who asked for it; ack tells the platform that it has been received. It runs on
// the MQTT library's goroutine: it must not block.
func (k *Keeper) inbound(m message.Incoming, ack func()) {
	k.tally.received.Add(1)
	called := k.answerers.offer(m)
	matched, slow := k.readers.offer(m)
	filed := k.fileLater(m, ack)
	k.dropped(event.DropSlowReader, m.Topic, uint64(slow))
	if matched == 0 && !called && !filed {
		k.dropped(event.DropUnclaimed, m.Topic, 1)
	}
}

// fileLater sees to it that the message goes into the inboxes that want it, and is acknowledged after that. It reports whether one does.
func (k *Keeper) fileLater(m message.Incoming, ack func()) (wanted bool) {
	f := k.filing.Load()
	if f == nil {
		ack() // a message that is never acknowledged would fill the platform's window of 100
		return false
	}
	wanted = f.shelf.Wants(m.Topic)
	select {
	case f.arrivals <- arrival{m, ack}: // also one that no inbox wants, so that acknowledgements go out in their order
	default:
		if wanted { // not acknowledged: the platform keeps it, if it is of QoS 1 and the session lasts
			k.dropped(event.DropInboxStorage, m.Topic, 1)
		} else {
			ack()
		}
	}
	return wanted
}

// drops are the messages that were dropped, by reason.
type drops map[event.DropReason]*drop

type drop struct {
	untold uint64
	told   time.Time
	topic  string // of the last one
}

// dropped counts n messages, and tells of each reason at most once a minute: a flood of messages must not become a flood of events.
func (k *Keeper) dropped(why event.DropReason, topic string, n uint64) {
	if n == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	*dropCounter(&k.status.Counters, why) += n
	if k.drops == nil {
		k.drops = drops{}
	}
	d := k.drops[why]
	if d == nil {
		d = &drop{}
		k.drops[why] = d
	}
	d.untold += n
	d.topic = topic
	if time.Since(d.told) >= time.Minute {
		k.tellDrop(why, d)
	}
}

// tellDrop is called with mu held.
func (k *Keeper) tellDrop(why event.DropReason, d *drop) {
	k.env.events.Publish(event.MessagesDropped{Count: d.untold, Reason: why, Topic: d.topic}, k.statusLocked())
	d.told, d.untold = time.Now(), 0
}

// tellDrops tells of drops that were too soon after the last ones to be told at once.
func (k *Keeper) tellDrops(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, why := range slices.Sorted(maps.Keys(k.drops)) {
		if d := k.drops[why]; d.untold > 0 && now.Sub(d.told) >= time.Minute {
			k.tellDrop(why, d)
		}
	}
}

// dropCounter is where drops for a reason are counted.
func dropCounter(c *event.Counters, why event.DropReason) *uint64 {
	switch why {
	case event.DropSlowReader:
		return &c.SlowReader
	case event.DropInboxFull:
		return &c.InboxFull
	case event.DropDeadLetter:
		return &c.DeadLetters
	case event.DropByConsumer:
		return &c.ByConsumer
	case event.DropInboxStorage:
		return &c.InboxStorage
	case event.DropUnclaimed:
	}
	return &c.Unclaimed
}
