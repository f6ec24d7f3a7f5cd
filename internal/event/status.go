package event

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// State is where the sidecar stands with one device; the numbers are those of linkkit_sidecar.v1.LinkState.
type State int

// The states of a device.
const (
	Idle State = iota + 1
	Connecting
	Online
	Waiting
	Rejected
)

// String names the state for people and logs.
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Connecting:
		return "connecting"
	case Online:
		return "online"
	case Waiting:
		return "waiting"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Status is what is known of one device at one moment. It is a value: copy it freely. It holds no secret.
type Status struct {
	Device    device.ID
	State     State
	StateTime time.Time
	Wanted    bool   // to be kept online, also after a restart
	Endpoint  string // "host:port", empty before the first Connect

	Attempt     int       // since the link last held; 1 is the first
	Trace       string    // id of the trace of the latest attempt; empty when it is not recorded
	NextAttempt time.Time // zero unless Waiting

	LastCause     Cause
	LastDetail    string
	LastCauseTime time.Time

	SessionPresent          bool
	TakeoverSuspected       bool
	RegistrationInterrupted bool

	Credential *CredentialInfo // nil when there is none

	Counters Counters
	Queue    Queue
}

// Queue is what waits to be sent.
type Queue struct {
	Waiting, InFlight int // CONFIRMED messages; messages of both kinds
	StoredMessages    int
	StoredBytes       int64
	OldestStored      time.Time // zero when there is none
	MessagesPerSecond float64   // 0 is no limit
	BytesPerSecond    float64   // 0 is no limit
	Shaped            bool      // messages wait because of these limits
}

// CredentialInfo describes a credential without telling it.
type CredentialInfo struct {
	Kind        string    `json:"kind"` // as credential.Kind
	Fingerprint string    `json:"fingerprint"`
	Source      string    `json:"source"`
	StoredAt    time.Time `json:"stored_at"`
}

// Counters count since the process started.
type Counters struct {
	Attempts, Connects, Refusals, Losses uint64
	Unclaimed                            uint64 // messages from the platform that nobody had asked for
	BytesReceived, BytesSent             uint64 // MQTT's, before TLS

	MessagesSent, MessagesUnknown, MessagesReceived                 uint64
	Stored, StoredSent, StoredExpired, StoredDropped, StoredRefused uint64
	SlowReader                                                      uint64 // messages that a reader did not take in time
	InboxFull, InboxStorage, DeadLetters, ByConsumer                uint64
}

// Add adds what another device has counted.
func (c *Counters) Add(o Counters) {
	c.Attempts += o.Attempts
	c.Connects += o.Connects
	c.Refusals += o.Refusals
	c.Losses += o.Losses
	c.Unclaimed += o.Unclaimed
	c.BytesReceived += o.BytesReceived
	c.BytesSent += o.BytesSent
	c.MessagesSent += o.MessagesSent
	c.MessagesUnknown += o.MessagesUnknown
	c.MessagesReceived += o.MessagesReceived
	c.Stored += o.Stored
	c.StoredSent += o.StoredSent
	c.StoredExpired += o.StoredExpired
	c.StoredDropped += o.StoredDropped
	c.StoredRefused += o.StoredRefused
	c.SlowReader += o.SlowReader
	c.InboxFull += o.InboxFull
	c.InboxStorage += o.InboxStorage
	c.DeadLetters += o.DeadLetters
	c.ByConsumer += o.ByConsumer
}
