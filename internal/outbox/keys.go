package outbox

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

const (
	// keepKeys is how many keys of messages that have ended are known, and keepFor how long.
	keepKeys = 10_000
	keepFor  = 24 * time.Hour
)

// keys are the idempotency keys of one device: those of messages in the outbox, and for a while those of messages that have ended.
// All of it is guarded by the Box.
type keys struct {
	queue   string
	last    uint64 // greatest number among the ended
	pending map[string]*Entry
	ended   map[string]*ending
	order   []*ending // oldest first
}

// ending is how a message with a key has ended. Its JSON is its record.
type ending struct {
	sequence uint64
	Key      string          `json:"key"`
	Digest   string          `json:"digest"`
	Outcome  message.Outcome `json:"outcome"`
	Full     bool            `json:"full,omitempty"` // dropped to make room
	At       time.Time       `json:"at"`
}

// err is why, if it was not sent.
func (e *ending) err() error {
	switch {
	case e.Outcome == message.Expired:
		return ErrExpired
	case e.Outcome == message.Dropped && e.Full:
		return ErrFull
	case e.Outcome == message.Dropped:
		return ErrUnreadable
	}
	return nil
}

func endedQueue(id device.ID) string { return "ended/" + id.String() + "/" }

func openKeys(id device.ID, disk message.Queues, log *slog.Logger) (*keys, error) {
	k := &keys{queue: endedQueue(id), pending: map[string]*Entry{}, ended: map[string]*ending{}}
	err := disk.ScanQueue(k.queue, func(sequence uint64, record []byte) error {
		k.last = max(k.last, sequence)
		e := &ending{sequence: sequence}
		if _, err := message.Decode(record, e); err != nil {
			log.Error("the key of a message that has ended cannot be read and is forgotten", "sequence", sequence, "error", err)
			return nil
		}
		k.ended[e.Key] = e
		k.order = append(k.order, e)
		return nil
	})
	return k, err
}

// find tells what is known of the message's key: its entry, how it has ended, or, when found and neither, that its content was another.
func (k *keys) find(m message.Outgoing) (e *Entry, end *ending, found bool) {
	d := digestOf(m.Topic, m.Payload, m.QoS)
	if e := k.pending[m.Key]; e != nil {
		if e.digest != d {
			return nil, nil, true
		}
		return e, nil, true
	}
	if end := k.ended[m.Key]; end != nil {
		if end.Digest != hex.EncodeToString(d[:]) {
			return nil, nil, true
		}
		return nil, end, true
	}
	return nil, nil, false
}

// end remembers how an entry has ended, and returns what is to be changed on disk.
func (k *keys) end(e *Entry, now time.Time) []message.Change {
	delete(k.pending, e.key)
	end := &ending{
		sequence: e.sequence, Key: e.key, Digest: hex.EncodeToString(e.digest[:]),
		Outcome: e.outcome, Full: errors.Is(e.why, ErrFull), At: now.Round(0),
	}
	record, err := message.Encode(end, nil)
	if err != nil {
		return nil // cannot be: it is made of texts and numbers
	}
	k.ended[end.Key] = end
	k.order = append(k.order, end)
	return append(k.trim(now), message.Change{Queue: k.queue, Sequence: end.sequence, Record: record})
}

// trim forgets the oldest keys, and returns what is to be changed on disk.
func (k *keys) trim(now time.Time) (changes []message.Change) {
	n := 0
	for n < len(k.order) && (len(k.order)-n > keepKeys || now.Sub(k.order[n].At) > keepFor) {
		old := k.order[n]
		changes = append(changes, message.Change{Queue: k.queue, Sequence: old.sequence})
		if k.ended[old.Key] == old {
			delete(k.ended, old.Key)
		}
		n++
	}
	k.order = k.order[n:]
	return changes
}
