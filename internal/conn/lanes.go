package conn

import (
	"sync"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// lanes are the messages that wait to be sent over one device's link. Each caller has a lane of its own, and the lanes take
// turns, so one that floods delays its own messages only.
type lanes struct {
	mu      sync.Mutex
	sender  func() // is called when take, or the outbox, may have something; nil while nobody sends
	closed  error  // why nothing is taken now; nil while a link is up
	busy    []*lane
	waiting int
	limit   int // of waiting; 0 is none
}

// lane is the messages of one caller.
type lane struct {
	box   *message.Mailbox // for receipts
	queue []message.Outgoing
}

// add queues messages, or answers at once that they will not be sent.
func (q *lanes) add(l *lane, messages []message.Outgoing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range messages {
		switch {
		case q.closed != nil:
			refuse(l, messages[i:], q.closed)
			return
		case q.limit > 0 && q.waiting >= q.limit:
			refuse(l, messages[i:], ErrQueueFull)
			return
		}
		if len(l.queue) == 0 {
			q.busy = append(q.busy, l)
		}
		l.queue = append(l.queue, m)
		q.waiting++
	}
	q.note()
}

func refuse(l *lane, messages []message.Outgoing, why error) {
	receipts := make([]message.Receipt, len(messages))
	for i, m := range messages {
		receipts[i] = message.Receipt{ID: m.ID, Outcome: message.Failed, Err: why}
	}
	l.box.Put(receipts...)
}

// count is how many messages wait.
func (q *lanes) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// take removes the message whose turn it is.
func (q *lanes) take() (*lane, message.Outgoing, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.busy) == 0 {
		return nil, message.Outgoing{}, false
	}
	l := q.busy[0]
	q.busy = q.busy[1:]
	m := l.queue[0]
	l.queue[0] = message.Outgoing{} // the payload is the sender's now
	l.queue = l.queue[1:]
	q.waiting--
	if len(l.queue) > 0 {
		q.busy = append(q.busy, l)
	}
	return l, m, true
}

// open takes messages from now on: a link is up.
func (q *lanes) open(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.limit = nil, limit
}

// call has sender called whenever there may be something to send, until close. It must not wait.
func (q *lanes) call(sender func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sender = sender
	if q.waiting > 0 {
		q.note()
	}
}

// ring is for those who put something into the outbox.
func (q *lanes) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.note()
}

// note calls the sender, if there is one. mu is held.
func (q *lanes) note() {
	if q.sender != nil {
		q.sender()
	}
}

// close takes no more, and answers for those that wait: they were not sent.
func (q *lanes) close(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.sender = why, nil
	for _, l := range q.busy {
		refuse(l, l.queue, why)
		l.queue = nil
	}
	q.busy, q.waiting = nil, 0
}

// leave drops what a caller that has gone has left to wait.
func (q *lanes) leave(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, b := range q.busy {
		if b == l {
			q.busy = append(q.busy[:i:i], q.busy[i+1:]...)
			q.waiting -= len(l.queue)
			l.queue = nil
			return
		}
	}
}
