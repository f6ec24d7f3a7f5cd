package conn

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Publisher sends one caller's messages. It is for one goroutine; Receipts may be taken by another.
type Publisher struct {
	k       *Keeper
	lane    *lane
	writing sync.WaitGroup // the goroutine that puts messages into the outbox, while there are any

	mu     sync.Mutex
	stored []message.Outgoing // on their way to the outbox
	busy   bool               // that goroutine runs
}

// Publisher makes one for a device. Close it.
func (s *Set) Publisher(id device.ID) (*Publisher, error) {
	k, err := s.known(id)
	if err != nil {
		return nil, err
	}
	return &Publisher{k: k, lane: &lane{box: message.NewMailbox()}}, nil
}

// Publish hands messages over. Each gets one receipt, and a stored one that was taken another when it has ended.
func (p *Publisher) Publish(messages []message.Outgoing) {
	now, stored := make([]message.Outgoing, 0, len(messages)), []message.Outgoing(nil)
	accepted := time.Now()
	for _, m := range messages {
		m.Accepted = accepted
		if err := ValidateOutgoing(p.k.id, m); err != nil {
			p.lane.box.Put(message.Receipt{ID: m.ID, Outcome: message.Failed, Err: err})
			continue
		}
		if m.Stored {
			stored = append(stored, m)
		} else {
			now = append(now, m)
		}
	}
	p.k.lanes.add(p.lane, now)
	p.put(stored)
}

// Receipts is where the receipts come.
func (p *Publisher) Receipts() *message.Mailbox { return p.lane.box }

// Close drops what waits to be sent or to be put into the outbox, and the receipts.
func (p *Publisher) Close() {
	p.k.lanes.leave(p.lane)
	p.lane.box.Close()
	p.mu.Lock()
	p.stored = nil
	p.mu.Unlock()
	p.writing.Wait()
}

// put queues messages for the outbox. While one sync is under way more come together for the next.
func (p *Publisher) put(messages []message.Outgoing) {
	if len(messages) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stored = append(p.stored, messages...); !p.busy {
		p.busy = true
		p.writing.Go(p.write)
	}
}

// putAtOnce is how many messages one transaction has.
const putAtOnce = 1000

func (p *Publisher) write() {
	for {
		p.mu.Lock()
		some := p.stored[:min(len(p.stored), putAtOnce)]
		p.stored = p.stored[len(some):]
		if p.busy = len(some) > 0; !p.busy {
			p.stored = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		box, err := p.k.openOutbox()
		if err != nil {
			refuse(p.lane, some, err)
			continue
		}
		p.traceStored(some, box.Put(p.lane.box, some))
	}
}

const (
	// maxKey is how long an idempotency key may be, in bytes.
	maxKey = 128
	// maxTTL is how long a message may be told to wait.
	maxTTL = 365 * 24 * time.Hour
)

// ValidateOutgoing tells, by a *platform.FieldError, what the platform would drop without an answer, and what makes no sense.
func ValidateOutgoing(id device.ID, m message.Outgoing) error {
	if err := platform.ValidateTopic(id, m.Topic); err != nil {
		return err
	}
	switch {
	case len(m.Payload) > platform.MaxPayloadBytes:
		return fieldError("payload", fmt.Sprintf("has %d bytes; the platform takes %d", len(m.Payload), platform.MaxPayloadBytes))
	case m.QoS > 1:
		return fieldError("qos", fmt.Sprintf("is %d; the platform has QoS 0 and 1", m.QoS))
	case !m.Stored && m.TTL != 0:
		return fieldError("ttl", "is for STORED messages: one that is CONFIRMED does not wait")
	case !m.Stored && m.Priority != 0:
		return fieldError("priority", "is for STORED messages")
	case !m.Stored && m.Key != "":
		return fieldError("key", "is for STORED messages: whether the platform has one that is CONFIRMED may be unknown")
	case m.TTL < 0 || m.TTL > maxTTL:
		return fieldError("ttl", "must be 1 to 31536000 seconds")
	case m.Priority > message.MaxPriority:
		return fieldError("priority", fmt.Sprintf("must be 0 to %d", message.MaxPriority))
	case len(m.Key) > maxKey || !utf8.ValidString(m.Key):
		return fieldError("key", fmt.Sprintf("must be text of at most %d bytes", maxKey))
	}
	return nil
}
