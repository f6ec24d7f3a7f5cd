package conn

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// inbound hands a message from the platform to those who asked for it. It runs on the MQTT library's goroutine: it must not block.
func (k *Keeper) inbound(m message.Incoming) {
	k.tally.received.Add(1)
	matched, slow := k.readers.offer(m)
	if matched > 0 && slow == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if matched == 0 {
		k.status.Counters.Unclaimed++
		k.drop(event.DropUnclaimed, m.Topic, 1)
		return
	}
	k.status.Counters.SlowReader += uint64(slow)
	k.drop(event.DropSlowReader, m.Topic, uint64(slow))
}

// drops are the messages that were dropped, by reason.
type drops map[event.DropReason]*dropped

type dropped struct {
	untold uint64
	told   time.Time
}

// drop counts n messages, and tells of each reason at most once a minute: a flood of messages must not become a flood of events.
// mu is held.
func (k *Keeper) drop(why event.DropReason, topic string, n uint64) {
	if k.drops == nil {
		k.drops = drops{}
	}
	d := k.drops[why]
	if d == nil {
		d = &dropped{}
		k.drops[why] = d
	}
	d.untold += n
	if time.Since(d.told) < time.Minute {
		return
	}
	k.env.events.Publish(event.MessagesDropped{Count: d.untold, Reason: why, Topic: topic}, k.statusLocked())
	d.told, d.untold = time.Now(), 0
}
