package conn

import (
	"maps"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/measure"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
)

// Figures are the numbers of all devices together. What counts, counts since the process started and never falls: devices that were
// forgotten are in it.
type Figures struct {
	States            [event.Rejected + 1]int // devices
	TakeoverSuspected int                     // devices

	Counters  event.Counters
	Refusals  []CodeCount  // of logins
	Failures  []CauseCount // attempts to which the platform gave no answer
	Losses    []CauseCount
	Takeovers uint64 // warnings of one

	TimeToOnline measure.Snapshot
	Publish      []Stage

	Waiting, InFlight int // messages
	Outbox            Outboxes
	Inbox             inbox.Figures
	Filters           Filters
	Certificates      Certificates // of the links that are up
}

// OtherCode stands for all CONNACK codes that MQTT 3.1.1 does not have.
const OtherCode = 255

// CodeCount is how often a CONNACK code came.
type CodeCount struct {
	Code  byte
	Count uint64
}

// CauseCount is how often a cause was one.
type CauseCount struct {
	Cause event.Cause
	Count uint64
}

// Stage is how long messages took since they were accepted.
type Stage struct {
	Name    string // "on_disk", "sent" or "acknowledged"
	Stored  bool   // the messages; else they are CONFIRMED
	Seconds measure.Snapshot
}

// Outboxes is what is in all outboxes together.
type Outboxes struct {
	Messages int
	Bytes    int64
	Oldest   time.Time // zero when there is none
	Fullest  float64   // the part that is used of the fullest one's bounds
	Ended    map[Ending]uint64
}

// Filters is how the topic filters of devices that are online stand with the platform.
type Filters struct{ Granted, Pending, Refused int }

// Certificates is when the first of the servers' certificates, and of the roots that they chain to, ends; zero when there is none.
type Certificates struct{ Leaf, Root time.Time }

func (c *Certificates) add(other Certificates) {
	c.Leaf, c.Root = earlier(c.Leaf, other.Leaf), earlier(c.Root, other.Root)
}

// earlier of two times, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Figures are the numbers now.
func (s *Set) Figures() Figures {
	m := s.env.measures
	f := Figures{
		Failures: m.failures.all(), Losses: m.losses.all(), Takeovers: m.takeovers.Load(), TimeToOnline: m.online.Snapshot(),
		Publish: []Stage{
			{Name: "sent", Seconds: m.confirmed.sent.Snapshot()},
			{Name: "acknowledged", Seconds: m.confirmed.acknowledged.Snapshot()},
			{Name: "on_disk", Stored: true, Seconds: m.stored.onDisk.Snapshot()},
			{Name: "sent", Stored: true, Seconds: m.stored.sent.Snapshot()},
			{Name: "acknowledged", Stored: true, Seconds: m.stored.acknowledged.Snapshot()},
		},
		Outbox: Outboxes{Ended: map[Ending]uint64{}},
	}
	for code := 1; code < connackCodes; code++ {
		f.Refusals = append(f.Refusals, CodeCount{byte(code), m.refusals[code].Load()})
	}
	f.Refusals = append(f.Refusals, CodeCount{OtherCode, m.refusals[connackCodes].Load()})
	for e := range endings {
		f.Outbox.Ended[Ending(e)] = m.ended[e].Load()
	}
	s.mu.Lock()
	f.Counters = s.past
	all := slices.Collect(maps.Values(s.keepers)) // in one go with past: a device is in one of the two
	s.mu.Unlock()
	for _, k := range all {
		f.add(k)
	}
	f.Inbox.Delivered, f.Inbox.Redelivered = m.deliveries.Delivered.Load(), m.deliveries.Redelivered.Load()
	return f
}

// add adds a device.
func (f *Figures) add(k *Keeper) {
	k.mu.Lock()
	st, l, box := k.statusLocked(), k.link, k.outbox
	k.mu.Unlock()
	f.States[st.State]++
	if st.TakeoverSuspected {
		f.TakeoverSuspected++
	}
	f.Counters.Add(st.Counters)
	f.Waiting += st.Queue.Waiting
	f.InFlight += st.Queue.InFlight
	if l != nil {
		f.Certificates.add(l.Certificates())
		f.Filters.add(k.filters.count())
	}
	if box != nil {
		f.Outbox.add(box.Status())
	}
	if filing := k.filing.Load(); filing != nil {
		f.Inbox.Add(filing.shelf.Figures())
	}
}

func (o *Outboxes) add(s outbox.Status) {
	o.Messages += s.Messages
	o.Bytes += s.Bytes
	o.Oldest = earlier(o.Oldest, s.Oldest)
	o.Fullest = max(o.Fullest, s.Full)
}

func (f *Filters) add(other Filters) {
	f.Granted += other.Granted
	f.Pending += other.Pending
	f.Refused += other.Refused
}
