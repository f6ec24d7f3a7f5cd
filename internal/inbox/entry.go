package inbox

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// entry is one message of an inbox.
type entry struct {
	sequence uint64
	topic    string
	size     int // of the record
	arrived  time.Time
	m        *message.Incoming // nil: on disk only

	count    int       // deliveries that came to nothing
	delivery uint64    // the one under way; 0 is none
	due      time.Time // when it is ready (again), while it is delivered or put off
	place    int       // in the heap that it is in
}

// header is what the record of a message has beside its payload.
type header struct {
	Topic     string    `json:"topic"`
	QoS       byte      `json:"qos"`
	Duplicate bool      `json:"dup,omitempty"`
	Arrived   time.Time `json:"arrived"`
}

var errHeader = errors.New("it has no topic, or a QoS that there is not")

func newEntry(sequence uint64, m message.Incoming) (*entry, []byte, error) {
	record, err := message.Encode(header{m.Topic, m.QoS, m.Duplicate, m.ReceivedAt.Round(0)}, m.Payload)
	return &entry{sequence: sequence, topic: m.Topic, size: len(record), arrived: m.ReceivedAt, m: &m}, record, err
}

// decode makes the message of a record.
func decode(record []byte) (message.Incoming, error) {
	var h header
	payload, err := message.Decode(record, &h)
	if err == nil && (h.Topic == "" || h.QoS > 1) {
		err = errHeader
	}
	return message.Incoming{Topic: h.Topic, Payload: payload, QoS: h.QoS, Duplicate: h.Duplicate, ReceivedAt: h.Arrived}, err
}

// tries is the record of how often a message was delivered for nothing.
func tries(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func readTries(record []byte) int {
	n, _ := binary.Uvarint(record)
	return int(min(n, 1<<20))
}

// bySequence and byTime are heaps of entries.
type bySequence []*entry

func (h bySequence) Len() int           { return len(h) }
func (h bySequence) Less(i, j int) bool { return h[i].sequence < h[j].sequence }
func (h bySequence) Swap(i, j int)      { swap(h, i, j) }
func (h *bySequence) Push(x any)        { push((*[]*entry)(h), x) }
func (h *bySequence) Pop() any          { return pop((*[]*entry)(h)) }

type byTime []*entry

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byTime) Swap(i, j int)      { swap(h, i, j) }
func (h *byTime) Push(x any)        { push((*[]*entry)(h), x) }
func (h *byTime) Pop() any          { return pop((*[]*entry)(h)) }

func swap(h []*entry, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func push(h *[]*entry, x any) {
	e, _ := x.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

func pop(h *[]*entry) any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.place = -1
	return e
}
