// Package message has the nouns of messages that several rooms share: what goes out and what became of it, and what came in.
package message

import "time"

// Outgoing is a message from the device to the platform.
type Outgoing struct {
	ID      uint64 // of the app's, for its receipt
	Topic   string
	Payload []byte
	QoS     byte // 0 or 1
}

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
)

// Receipt tells what became of one message.
type Receipt struct {
	ID      uint64
	Outcome Outcome
	Err     error // why, with Failed and Unknown
}
