package conn

import "context"

// handshakes runs attempts to log in, so many at once in the process. A goroutine that has made one goes on with the next that waits: a
// handshake needs a large stack, and to grow one for each of a thousand devices takes a good part of the time.
type handshakes struct {
	slots chan struct{}
	next  chan func() // to a goroutine that has a slot
}

func newHandshakes(atOnce int) *handshakes {
	return &handshakes{slots: make(chan struct{}, atOnce), next: make(chan func())}
}

// run waits for its turn, and until attempt has returned. It reports false when ctx ended before the turn came.
func (h *handshakes) run(ctx context.Context, attempt func()) bool {
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
