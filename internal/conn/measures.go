package conn

import (
	"sync/atomic"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/measure"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
)

const (
	// connackCodes is how many codes are counted apart: MQTT 3.1.1 has 1 to 5; whatever else a server makes up is one together.
	connackCodes = 6
	endings      = int(EndedUnreadable) + 1
)

// measures are what all devices count together, without a lock.
type measures struct {
	refusals  [connackCodes + 1]atomic.Uint64 // logins, by the code of CONNACK
	failures  causeCounts                     // attempts to which the platform gave no answer
	losses    causeCounts
	takeovers atomic.Uint64
	ended     [endings]atomic.Uint64 // STORED messages

	deliveries inbox.Counters

	online    *measure.Histogram // seconds until a device that is to be online is
	confirmed stages
	stored    stages
}

// stages are where the time of a message goes, in seconds since it was accepted.
type stages struct{ onDisk, sent, acknowledged *measure.Histogram }

func newMeasures() *measures {
	ofMessages := func() *measure.Histogram {
		return measure.New(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600)
	}
	return &measures{
		online:    measure.New(.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
		confirmed: stages{sent: ofMessages(), acknowledged: ofMessages()},
		stored:    stages{onDisk: ofMessages(), sent: ofMessages(), acknowledged: ofMessages()},
	}
}

// causeCounts count by cause.
type causeCounts [event.KnownCauses]atomic.Uint64

func (c *causeCounts) add(cause event.Cause) { c[cause].Add(1) }

func (c *causeCounts) all() []CauseCount {
	counts := make([]CauseCount, len(c))
	for i := range c {
		counts[i] = CauseCount{event.Cause(i), c[i].Load()}
	}
	return counts
}

func (m *measures) refused(code byte) { m.refusals[min(int(code), connackCodes)].Add(1) }

// of is the stages of a flight's message.
func (m *measures) of(f *flight) *stages {
	if f.entry != nil {
		return &m.stored
	}
	return &m.confirmed
}

// Ending is how a STORED message ended.
type Ending int

// The endings.
const (
	EndedAcknowledged Ending = iota
	EndedSent                // with QoS 0
	EndedExpired
	EndedMadeRoom
	EndedForgotten
	EndedUnreadable
)

func (e Ending) String() string {
	return [endings]string{"acknowledged", "sent", "expired", "made_room", "forgotten", "unreadable"}[e]
}

func endingOf(e outbox.Ended) Ending {
	switch endReason(e.Why) {
	case event.EndExpired:
		return EndedExpired
	case event.EndMadeRoom:
		return EndedMadeRoom
	case event.EndForgotten:
		return EndedForgotten
	case event.EndUnreadable:
		return EndedUnreadable
	}
	if e.Outcome == message.Sent {
		return EndedSent
	}
	return EndedAcknowledged
}
