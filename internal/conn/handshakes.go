package conn

import (
	"context"
	"sync"
)

// crowdTimes is how many times as many attempts as may be under way at once are a crowd.
const crowdTimes = 4

// handshakes runs attempts to log in, so many at once in the process. A goroutine that has made one goes on with the next that waits: a
// handshake needs a large stack, and to grow one for each of a thousand devices takes a good part of the time.
type handshakes struct {
	slots chan struct{}
	next  chan func()     // to a goroutine that has a slot
	crowd func(here bool) // is told when many come together, and when nobody waits any more; mu is held

	mu      sync.Mutex
	present int // attempts under way, and those that wait for their turn
	crowded bool
}

func newHandshakes(atOnce int, crowd func(bool)) *handshakes {
	if crowd == nil {
		crowd = func(bool) {}
	}
	return &handshakes{slots: make(chan struct{}, atOnce), next: make(chan func()), crowd: crowd}
}

// run waits for its turn, and until attempt has returned. It reports false when ctx ended before the turn came.
func (h *handshakes) run(ctx context.Context, attempt func()) bool {
	h.count(1)
	defer h.count(-1)
	done := make(chan struct{})
	job := func() {
		attempt()
		close(done)
	}
	select {
	case h.slots <- struct{}{}:
		go h.work(job)
	case h.next <- job:
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}

// work ends when nobody waits for a turn.
func (h *handshakes) work(job func()) {
	for job != nil {
		job()
		select {
		case job = <-h.next:
		default:
			job = nil
		}
	}
	<-h.slots
}

func (h *handshakes) count(one int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.present += one
	switch {
	case !h.crowded && h.present > crowdTimes*cap(h.slots):
		h.crowded = true
	case h.crowded && h.present < cap(h.slots):
		h.crowded = false
	default:
		return
	}
	h.crowd(h.crowded)
}
