package conn

import (
	"fmt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Publisher sends one caller's messages. It is for one goroutine; Receipts may be taken by another.
type Publisher struct {
	k    *Keeper
	lane *lane
}

// Publisher makes one for a device. Close it.
func (s *Set) Publisher(id device.ID) (*Publisher, error) {
	k, err := s.known(id)
	if err != nil {
		return nil, err
	}
	return &Publisher{k, &lane{box: message.NewMailbox()}}, nil
}

// Publish hands messages over. Each gets one receipt.
func (p *Publisher) Publish(messages []message.Outgoing) {
	good := make([]message.Outgoing, 0, len(messages))
	for _, m := range messages {
		if err := ValidateOutgoing(p.k.id, m); err != nil {
			p.lane.box.Put(message.Receipt{ID: m.ID, Outcome: message.Failed, Err: err})
			continue
		}
		good = append(good, m)
	}
	p.k.lanes.add(p.lane, good)
}

// Receipts is where the receipts come.
func (p *Publisher) Receipts() *message.Mailbox { return p.lane.box }

// Close drops what waits to be sent, and the receipts.
func (p *Publisher) Close() {
	p.k.lanes.leave(p.lane)
	p.lane.box.Close()
}

// ValidateOutgoing tells, by a *platform.FieldError, what the platform would drop without an answer.
func ValidateOutgoing(id device.ID, m message.Outgoing) error {
	if err := platform.ValidateTopic(id, m.Topic); err != nil {
		return err
	}
	switch {
	case len(m.Payload) > platform.MaxPayloadBytes:
		return fieldError("payload", fmt.Sprintf("has %d bytes; the platform takes %d", len(m.Payload), platform.MaxPayloadBytes))
	case m.QoS > 1:
		return fieldError("qos", fmt.Sprintf("is %d; the platform has QoS 0 and 1", m.QoS))
	}
	return nil
}
