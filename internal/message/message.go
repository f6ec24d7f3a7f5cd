// Package message has the nouns of messages that several rooms share: what goes out and what became of it, what came in, and how
// queues of them are kept on disk.
package message

import "time"

// Outgoing is a message from the device to the platform.
type Outgoing struct {
	ID      uint64 // of the app's, for its receipts
	Topic   string
	Payload []byte
	QoS     byte // 0 or 1

	// Accepted is when the sidecar took it from the app.
	Accepted time.Time

	// Stored: it goes by way of the outbox. What follows is for such messages only.
	Stored   bool
	Priority byte          // 0 to MaxPriority; a higher one goes first
	TTL      time.Duration // 0 is the outbox's default
	Key      string        // idempotency key; "" is none

	Trace *Trace // nil: nobody records what becomes of it
}

// Trace is where a message belongs in a trace. It is never changed: a message that waits anew is given another.
type Trace struct {
	Parent string    // W3C's traceparent
	Since  time.Time // since when it waits for what comes next
}

// MaxPriority is the highest priority of a stored message.
const MaxPriority = 9

// Incoming is a message from the platform.
type Incoming struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Duplicate  bool // MQTT's DUP flag: the platform may have sent it before
	ReceivedAt time.Time
}

// Outcome is what became of a message; the numbers are those of linkkit_sidecar.v1.Outcome.
type Outcome uint8

// The outcomes.
const (
	Acknowledged Outcome = iota + 1 // by PUBACK, on the link that carried it
	Sent                            // written to the link; the last that is heard of QoS 0
	Failed                          // not sent, and will not be
	Unknown                         // the link was lost before PUBACK came
	Stored                          // on disk; one more receipt follows
	Expired                         // its time passed before it was sent
	Dropped                         // from the outbox, for the reason that Err gives
)

// String names the outcome for logs and traces.
func (o Outcome) String() string {
	if o == 0 || int(o) > len(outcomes) {
		return "unknown outcome"
	}
	return outcomes[o-1]
}

var outcomes = [...]string{"acknowledged", "sent", "failed", "unknown", "stored", "expired", "dropped"}

// Final reports whether nothing more will be heard of the message.
func (o Outcome) Final() bool { return o != Stored }

// Receipt tells what became of one message.
type Receipt struct {
	ID        uint64
	Outcome   Outcome
	Err       error  // why, with Failed, Unknown, Expired and Dropped
	Sequence  uint64 // of a stored message, in its outbox
	Duplicate bool   // of a stored message: its key was known
}

// Change is one change of a queue on disk: a record is put under its number, or, when Record is nil, taken away.
type Change struct {
	Queue    string
	Sequence uint64
	Record   []byte
}

// Queues keeps queues of records on disk. *store.DB does. The name of a queue has no meaning there but its prefix.
type Queues interface {
	// ChangeQueue makes all changes or none, and returns when they are on disk. Many callers share one sync.
	ChangeQueue(changes []Change) error
	// ReadQueue returns the records of these numbers; nil for one that is not there.
	ReadQueue(queue string, sequences []uint64) ([][]byte, error)
	// ScanQueue goes through a queue in the order of numbers. A record is valid during the call only.
	ScanQueue(queue string, each func(sequence uint64, record []byte) error) error
	// ListQueues names the queues that hold something and begin with prefix.
	ListQueues(prefix string) ([]string, error)
	// DropQueues removes the queues that begin with prefix.
	DropQueues(prefix string) error
}
