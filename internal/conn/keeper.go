package conn

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// Keeper keeps one device online, as long as it is wanted. Callers ask through the Set.
type Keeper struct {
	id  device.ID
	env *environment

	// asking is held by the one call that changes what is wanted. It is a channel so that waiting for it can be given up.
	asking chan struct{}

	// registering is held by the one registration under way.
	registering sync.Mutex
	// unstored is a credential that a registration gave and that could not be written to disk. Guarded by registering.
	unstored *credential.Credential

	mu      sync.Mutex
	status  event.Status
	failure *Failure // why the device is Waiting or Rejected
	vigil   *vigil   // nil while the device is not wanted
	changed bell
	busy    bool // a registration is under way
	dead    bool // the device was forgotten: another Keeper may have taken its place
	link    link
	// traffic is that of links that have ended; the one that is up adds its own.
	received, sent uint64
	pace           pace
	drops          drops

	outbox *outbox.Box // nil until there is something for it

	lanes   lanes
	filters filters
	readers readers
	shaper  shaper
	tally   tally

	answerers answerers
	filing    atomic.Pointer[filing] // nil until there is an inbox
}

// tally counts messages, where taking mu for each would be too slow.
type tally struct{ sent, unknown, received, flying atomic.Int64 }

func newKeeper(id device.ID, env *environment) *Keeper {
	k := &Keeper{
		id: id, env: env, asking: make(chan struct{}, 1),
		status: event.Status{Device: id, State: event.Idle, StateTime: time.Now()},
		lanes:  lanes{closed: ErrNotOnline},
	}
	k.filters.free = k.subscribedUnasked
	k.shaper.keepTo(env.rates)
	return k
}

// subscribedUnasked reports whether the platform subscribes the device to a filter by itself.
func (k *Keeper) subscribedUnasked(filter string) bool {
	return platform.AutoSubscribedFilter(k.id, filter)
}

// ask waits for the right to change what is wanted. answer gives it back.
func (k *Keeper) ask(ctx context.Context) error {
	select {
	case k.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keeper) answer() { <-k.asking }

// watch starts a vigil. The device is held, or the Set is starting, and no vigil is under way.
func (k *Keeper) watch(s *Set, w wanted, asked trace.Context) *vigil {
	ctx, stop := context.WithCancelCause(s.life)
	v := &vigil{
		k: k, settings: unique.Make(w.Settings), address: w.Settings.address(k.id), established: w.Established, asked: asked,
		stop: stop, done: make(chan struct{}),
		backoff: backoff{min: w.Settings.ReconnectMin, max: w.Settings.ReconnectMax}, since: time.Now(),
	}
	k.change(nil, func(st *event.Status) {
		k.vigil, k.failure = v, nil
		st.State, st.Wanted, st.Endpoint, st.Attempt = event.Connecting, true, v.address, 0
	})
	v.keep(ctx, &s.work, v.connecting())
	return v
}

// watching is the vigil under way, or nil.
func (k *Keeper) watching() *vigil {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.vigil
}

// rest makes a rejected device idle.
func (k *Keeper) rest() {
	if k.Status().State == event.Rejected {
		k.change(event.Disconnected{Cause: event.CauseRequested}, func(st *event.Status) { st.State, st.Attempt = event.Idle, 0 })
	}
}

// retire reports whether there is nothing to know of the device. Then the Keeper takes nothing more.
func (k *Keeper) retire() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = k.nothingKnown() && !k.busy
	return k.dead
}

// nothingKnown reports whether the device is idle and nothing on disk is its own. mu is held.
func (k *Keeper) nothingKnown() bool {
	s := k.status
	return k.vigil == nil && s.State == event.Idle && s.Credential == nil && !s.Wanted && !s.RegistrationInterrupted &&
		k.outbox == nil && k.filing.Load() == nil
}

// loginWait is how long the platform's limit of logins keeps the device waiting.
func (k *Keeper) loginWait() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pace.wait(time.Now(), k.env.connectsPerMinute)
}

// loggingIn counts a login against that limit.
func (k *Keeper) loggingIn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pace.login(time.Now(), k.env.connectsPerMinute)
}

// closeTimeout is how long a link may take to close in good order.
const closeTimeout = 5 * time.Second

// closeLink ends a link that was opened.
func closeLink(l link) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	l.Close(ctx)
}

// log is for lines about the device. The caller does not hold mu.
func (k *Keeper) log() *slog.Logger {
	k.mu.Lock()
	defer k.mu.Unlock()
	log := k.env.log.With("device", k.id, "attempt", k.status.Attempt, "link", k.status.Counters.Connects)
	if k.status.Trace != "" {
		log = log.With("trace_id", k.status.Trace)
	}
	return log
}

// dropLink closes the link that the device was online with, and keeps its count of bytes.
func (k *Keeper) dropLink(l link) {
	closeLink(l)
	received, sent := l.Traffic()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.link = nil
	k.received += received
	k.sent += sent
}

// warn tells of what should be looked at in a link that works.
func (k *Keeper) warn(warnings []event.Warning) {
	for _, w := range warnings {
		k.change(w, func(*event.Status) {})
	}
}

// Status is what is known of the device now.
func (k *Keeper) Status() event.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.statusLocked()
}

func (k *Keeper) statusLocked() event.Status {
	s := k.status
	s.Counters.BytesReceived, s.Counters.BytesSent = k.received, k.sent
	if k.link != nil {
		received, sent := k.link.Traffic()
		s.Counters.BytesReceived += received
		s.Counters.BytesSent += sent
	}
	s.Counters.MessagesSent, s.Counters.MessagesUnknown = uint64(k.tally.sent.Load()), uint64(k.tally.unknown.Load())
	s.Counters.MessagesReceived = uint64(k.tally.received.Load())
	s.Queue = event.Queue{
		Waiting: k.lanes.count(), InFlight: int(k.tally.flying.Load()), Shaped: k.shaper.holding.Load(),
		MessagesPerSecond: k.env.rates.MessagesPerSecond, BytesPerSecond: k.env.rates.BytesPerSecond,
	}
	if k.outbox != nil {
		o := k.outbox.Status()
		s.Queue.StoredMessages, s.Queue.StoredBytes, s.Queue.OldestStored = o.Messages, o.Bytes, o.Oldest
		c := &s.Counters
		addOutbox(c, o.Counters)
	}
	return s
}

func addOutbox(c *event.Counters, o outbox.Counters) {
	c.Stored += o.Stored
	c.StoredSent += o.Sent
	c.StoredExpired += o.Expired
	c.StoredDropped += o.Dropped
	c.StoredRefused += o.Refused
}

// change edits the status and tells of it: all of it under one lock, so that events come in the order of the changes.
// body may be nil when there is nothing to tell.
func (k *Keeper) change(body event.Body, edit func(s *event.Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.status.State
	edit(&k.status)
	if k.status.State != before {
		k.status.StateTime = time.Now()
	}
	if k.status.State != event.Waiting {
		k.status.NextAttempt = time.Time{}
	}
	if body != nil {
		status := k.statusLocked()
		if k.nothingKnown() {
			status = event.Status{Device: k.id} // to readers too
		}
		k.env.events.Publish(body, status)
	}
	k.changed.ring()
}

// fail is change for a failure: it keeps the failure for callers of Connect.
func (k *Keeper) fail(f *Failure, body event.Body, edit func(s *event.Status)) {
	k.change(body, func(s *event.Status) {
		k.failure = f
		s.LastCause, s.LastDetail, s.LastCauseTime = f.Cause, f.Detail, time.Now()
		edit(s)
	})
}

// describe is what may be told of a credential.
func describeCredential(c credential.Credential) *event.CredentialInfo {
	return &event.CredentialInfo{Kind: string(c.Kind), Fingerprint: c.Fingerprint(), Source: c.Source, StoredAt: c.StoredAt}
}
