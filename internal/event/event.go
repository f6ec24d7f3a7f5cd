// Package event is the sidecar's memory of what happened: a bounded, durable log that any number of readers follow.
//
//	keepers ── Publish ──▶ pending ── Run: journal, then show ──▶ readers
//
// Publish never blocks and never waits for a disk. Run writes what was published to the journal, many events to one sync, and
// only then shows it, so that no reader has seen an event that a crash takes back. Readers hold a place in the log, not a
// queue: a slow one delays nobody and misses nothing until the journal itself has let go of what it had not read, and then it is
// told how much.
//
// A journal that cannot be written stops nobody either: events are shown all the same, under an epoch that a restarted sidecar will
// not know. Behind a disk that hangs only so many events wait; the rest is dropped, and that is told, too.
package event

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Event is one thing that happened to one device.
type Event struct {
	Sequence uint64
	Time     time.Time
	Device   device.ID
	Body     Body
}

// Cursor is a place in the log: after the event with this sequence number. 0 is the beginning.
type Cursor struct {
	Epoch    string
	Sequence uint64
}

// Kind names a kind of event; the numbers are those of linkkit_sidecar.v1.EventKind.
type Kind int

// The kinds of events.
const (
	KindConnecting Kind = iota + 1
	KindOnline
	KindRefused
	KindAttemptFailed
	KindLost
	KindDisconnected
	KindRegistered
	KindRegistrationFailed
	KindSubscriptionRefused
	KindTakeoverSuspected
	KindMessagesDropped
	KindWarning
	KindForgotten
	// Those below are made for one reader and never stored.
	KindSnapshot
	KindGap
	// Those below are stored again.
	KindStoredEnded
)

// Body is what happened: one of the types below.
type Body interface{ Kind() Kind }

// Attempting tells that an attempt to connect began.
type Attempting struct {
	Attempt  int    `json:"attempt"`
	Endpoint string `json:"endpoint"`
}

// WentOnline tells that the platform accepted the device.
type WentOnline struct {
	SessionPresent bool      `json:"session_present"`
	ConnackTime    time.Time `json:"connack_time"`
	Endpoint       string    `json:"endpoint"`
	Attempt        int       `json:"attempt"`
}

// Refused tells that the platform refused the device by a CONNACK code.
type Refused struct {
	Code        byte      `json:"code"`
	Meaning     string    `json:"meaning"`
	Advice      string    `json:"advice"`
	WillRetry   bool      `json:"will_retry"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// AttemptFailed tells that an attempt failed before the platform answered.
type AttemptFailed struct {
	Cause       Cause     `json:"cause"`
	Detail      string    `json:"detail"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Attempt     int       `json:"attempt"`
}

// Lost tells that a link was lost after it had been up for Held.
type Lost struct {
	Cause       Cause         `json:"cause"`
	Detail      string        `json:"detail"`
	NextAttempt time.Time     `json:"next_attempt,omitzero"`
	Held        time.Duration `json:"held"`
}

// Disconnected tells that a link, or the wish for one, was ended on purpose.
type Disconnected struct {
	Cause Cause `json:"cause"`
}

// Registered tells that a device was registered and its credential stored.
type Registered struct {
	Method     string         `json:"method"`
	Credential CredentialInfo `json:"credential"`
}

// RegistrationFailed tells that a registration did not succeed. Code is the CONNACK code or that of the HTTPS reply.
type RegistrationFailed struct {
	Method      string `json:"method"`
	Cause       Cause  `json:"cause"`
	Detail      string `json:"detail"`
	Code        int    `json:"code"`
	Interrupted bool   `json:"interrupted"`
}

// SubscriptionRefused tells that the platform refused a topic filter.
type SubscriptionRefused struct {
	Filter string `json:"filter"`
}

// TakeoverSuspected tells that another program seems to log in as the device.
type TakeoverSuspected struct {
	Losses      int       `json:"losses"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// DropReason says why messages were dropped.
type DropReason int

// The reasons; the numbers are those of linkkit_sidecar.v1.DropReason.
const (
	DropUnclaimed    DropReason = iota + 1 // the platform sent them and no app had asked for them
	DropSlowReader                         // an app had asked for them and did not take them in time
	DropInboxFull                          // they made room in an inbox
	DropDeadLetter                         // they were delivered too often, and went to the dead letters
	DropByConsumer                         // an app said so
	DropInboxStorage                       // they could not be put into an inbox
)

// MessagesDropped tells that messages were dropped.
type MessagesDropped struct {
	Count  uint64     `json:"count"`
	Reason DropReason `json:"reason"`
	Topic  string     `json:"topic"`
}

// StoredEnded tells that STORED messages ended, all in the same way.
type StoredEnded struct {
	Outcome int             `json:"outcome"` // as message.Outcome
	Reason  EndReason       `json:"reason,omitempty"`
	Count   uint64          `json:"count"`
	Ranges  []SequenceRange `json:"ranges"`
}

// SequenceRange is consecutive numbers of an outbox.
type SequenceRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// EndReason says why a STORED message was not sent.
type EndReason int

// The reasons. They are stored: append, never renumber.
const (
	EndExpired EndReason = iota + 1
	EndMadeRoom
	EndForgotten
	EndUnreadable
)

// WarningCode names what should be looked at.
type WarningCode int

// The codes of warnings; the numbers are those of linkkit_sidecar.v1.WarningCode.
const (
	WarnRootExpires WarningCode = iota + 1
	WarnHostnameNotVerified
	WarnPlainTCP
	WarnStateSetAside
)

// Warning tells of something that works but should be looked at.
type Warning struct {
	Code   WarningCode `json:"code"`
	Detail string      `json:"detail"`
}

// Forgotten tells that the sidecar forgot a device.
type Forgotten struct{}

// Snapshot tells a reader where things stand. More says that it goes on in the next event.
type Snapshot struct {
	Statuses []Status
	More     bool
}

// Gap tells a reader that events are gone; Count is 0 when it is not known how many.
type Gap struct {
	Count  uint64
	Detail string
}

func (Attempting) Kind() Kind          { return KindConnecting }
func (WentOnline) Kind() Kind          { return KindOnline }
func (Refused) Kind() Kind             { return KindRefused }
func (AttemptFailed) Kind() Kind       { return KindAttemptFailed }
func (Lost) Kind() Kind                { return KindLost }
func (Disconnected) Kind() Kind        { return KindDisconnected }
func (Registered) Kind() Kind          { return KindRegistered }
func (RegistrationFailed) Kind() Kind  { return KindRegistrationFailed }
func (SubscriptionRefused) Kind() Kind { return KindSubscriptionRefused }
func (TakeoverSuspected) Kind() Kind   { return KindTakeoverSuspected }
func (MessagesDropped) Kind() Kind     { return KindMessagesDropped }
func (Warning) Kind() Kind             { return KindWarning }
func (Forgotten) Kind() Kind           { return KindForgotten }
func (Snapshot) Kind() Kind            { return KindSnapshot }
func (Gap) Kind() Kind                 { return KindGap }
func (StoredEnded) Kind() Kind         { return KindStoredEnded }
