package sandbox

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

const (
	keptLogins = 200 // of each device name
	// maxNames is for how many device names logins are kept. Names come from the network, whether such a device exists or not.
	maxNames = 10_000
)

// history keeps the newest values.
type history[T any] struct {
	kept []T
}

// add appends v; of the values beyond max the oldest are forgotten.
func (h *history[T]) add(v T, maximum int) {
	if len(h.kept) >= 2*maximum {
		n := copy(h.kept, h.kept[len(h.kept)-maximum:])
		clear(h.kept[n:])
		h.kept = h.kept[:n]
	}
	h.kept = append(h.kept, v)
}

// last is the newest at most n values, oldest first. They are valid until the next add.
func (h *history[T]) last(n int) []T {
	return h.kept[max(0, len(h.kept)-n):]
}

// receipt is a message that a device published.
type receipt struct {
	message
	received   time.Time
	link       uint64
	number     uint64 // counts those of the device that were kept, from 1
	lateAnswer bool   // it answers an RRPC that does not wait for it
}

// loginRecord is one CONNECT and what became of it.
type loginRecord struct {
	number        uint64 // counts all CONNECTs, to put those of several devices in order
	id            device.ID
	received      time.Time
	clientID      string
	tls           bool
	serverName    string
	code          byte
	answered      bool // whether code was sent
	reason        string
	remoteAddress string
}

// recordLogin keeps r. A name that is one too many is not kept: it is the name of no device, or of one of very many.
func (c *cloud) recordLogin(r loginRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connects++
	r.number = c.connects
	h, known := c.logins[r.id]
	if !known {
		if len(c.logins) >= maxNames {
			return
		}
		h = &history[loginRecord]{}
		c.logins[r.id] = h
	}
	h.add(r, keptLogins)
}
