package outbox

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

type state uint8

const (
	writing state = iota // not on disk yet
	waiting              // for its turn
	flying               // with the sender
	leaving              // chosen to make room
	gone
)

// Entry is one message in an outbox. What is in it is the Box's affair.
type Entry struct {
	sequence uint64
	priority byte
	qos      byte
	state    state
	outcome  message.Outcome // when gone
	size     int             // of the record
	taken    time.Time
	expires  time.Time         // zero: never
	m        *message.Outgoing // nil: on disk only
	key      string
	digest   digest
	why      error
	waiters  []waiter
}

// waiter is who wants to hear of an entry's end.
type waiter struct {
	box       *message.Mailbox
	id        uint64
	duplicate bool
}

// header is what the record of a message has beside its payload.
type header struct {
	Topic    string    `json:"topic"`
	QoS      byte      `json:"qos"`
	Priority byte      `json:"priority,omitempty"`
	Taken    time.Time `json:"taken"`
	Expires  time.Time `json:"expires,omitzero"`
	Key      string    `json:"key,omitempty"`
	Trace    string    `json:"trace,omitempty"` // traceparent of a message that is traced
}

func newEntry(sequence uint64, m message.Outgoing, now time.Time) (*Entry, []byte, error) {
	h := header{Topic: m.Topic, QoS: m.QoS, Priority: m.Priority, Taken: now.Round(0), Key: m.Key}
	if m.TTL > 0 {
		h.Expires = h.Taken.Add(m.TTL)
	}
	if m.Trace != nil {
		h.Trace = m.Trace.Parent
	}
	record, err := message.Encode(h, m.Payload)
	if err != nil {
		return nil, nil, err
	}
	e := entryOf(sequence, h, len(record))
	e.m, e.digest = &m, digestOf(m.Topic, m.Payload, m.QoS)
	return e, record, nil
}

func entryOf(sequence uint64, h header, size int) *Entry {
	return &Entry{
		sequence: sequence, priority: h.Priority, qos: h.QoS, state: writing, size: size, taken: h.Taken, expires: h.Expires, key: h.Key,
	}
}

var errHeader = errors.New("its QoS or priority is none")

func readHeader(record []byte) (h header, payload []byte, err error) {
	payload, err = message.Decode(record, &h)
	if err == nil && (h.QoS > 1 || h.Priority > message.MaxPriority) {
		err = errHeader
	}
	return h, payload, err
}

// readEntry makes the entry of a record.
func readEntry(sequence uint64, record []byte) (*Entry, error) {
	h, payload, err := readHeader(record)
	if err != nil {
		return nil, err
	}
	e := entryOf(sequence, h, len(record))
	e.state, e.digest = waiting, digestOf(h.Topic, payload, h.QoS)
	return e, nil
}

// decode makes the message of a record.
func decode(record []byte) (message.Outgoing, error) {
	h, payload, err := readHeader(record)
	m := message.Outgoing{Topic: h.Topic, Payload: payload, QoS: h.QoS, Stored: true, Priority: h.Priority, Key: h.Key, Accepted: h.Taken}
	if h.Trace != "" {
		m.Trace = &message.Trace{Parent: h.Trace, Since: h.Taken}
	}
	return m, err
}

// waitAnew notes that the message waits for its turn from now on.
func (e *Entry) waitAnew() {
	if e.m != nil && e.m.Trace != nil {
		e.m.Trace = &message.Trace{Parent: e.m.Trace.Parent, Since: time.Now()}
	}
}

// digest tells messages with different content apart.
type digest [16]byte

func digestOf(topic string, payload []byte, qos byte) (d digest) {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0, qos})
	h.Write(payload)
	copy(d[:], h.Sum(nil))
	return d
}
