package conn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// vigil is the time during which a device is wanted with one set of settings. One goroutine at a time is its own, or none: see keep.
type vigil struct {
	k        *Keeper
	settings unique.Handle[Settings] // thousands of devices have the same
	address  string
	asked    trace.Context // of the call that wants the device online; the first attempt belongs to its trace

	stop context.CancelCauseFunc // with errRequested, errReplaced or errShutdown
	done chan struct{}           // closed when the goroutine has left and the link is closed

	// What follows is the goroutine's own.
	established bool // the platform has accepted the device with these settings, in this process or before
	attempts    int  // since the link last held
	backoff     backoff
	takeover    takeover
	since       time.Time // when the device was to be online, or was it last
	rest        rest      // what the next step waits for; nil: it begins at once

	refusal  *Failure // why the device is rejected; written before rejected
	rejected atomic.Bool
}

// Why a vigil ends.
var (
	errRequested = errors.New("disconnect was asked for")
	errReplaced  = errors.New("other settings were asked for")
	errShutdown  = errors.New("the sidecar is stopping")
)

// step does one state's work and returns the next, or nil to stop.
type step func(context.Context) step

// keep is the state machine. It ends when ctx does, or when the platform rejects the device.
//
// Each step has a goroutine of its own, which starts that of the next and ends: a goroutine's stack grows with the work that it has done
// and stays so. The step in which a device spends its days has none before it begins, see park.
func (v *vigil) keep(ctx context.Context, work *sync.WaitGroup, next step) {
	work.Go(func() {
		after := next(ctx)
		rest := v.rest
		v.rest = nil
		switch {
		case after == nil:
			v.leave(ctx)
		case rest == nil:
			v.keep(ctx, work, after)
		default:
			work.Add(1) // whoever waits for the vigil waits for one that rests, too
			park(rest, func() {
				v.keep(ctx, work, after)
				work.Done()
			})
		}
	})
}

// leave is the end of a vigil.
func (v *vigil) leave(ctx context.Context) {
	defer close(v.done)
	defer v.stop(nil)
	cause := event.CauseRequested
	if errors.Is(context.Cause(ctx), errShutdown) {
		cause = event.CauseShutdown
	}
	if ctx.Err() != nil && !v.rejected.Load() {
		v.k.change(event.Disconnected{Cause: cause}, func(s *event.Status) {
			if v.k.vigil == v {
				v.k.vigil = nil
			}
			s.State, s.Attempt, s.SessionPresent, s.TakeoverSuspected = event.Idle, 0, false, false
			s.Wanted = s.Wanted && !errors.Is(context.Cause(ctx), errRequested) // in the other cases it comes back
			s.LastCause, s.LastDetail, s.LastCauseTime = cause, context.Cause(ctx).Error(), time.Now()
		})
	}
}

// connecting waits until there may be one more attempt, and has it made.
func (v *vigil) connecting() step {
	return func(ctx context.Context) step {
		k := v.k
		if wait := k.loginWait(); wait > 0 {
			f := &Failure{
				Cause:  event.CauseConnackServerUnavailable,
				Detail: fmt.Sprintf("the platform takes %d logins of a device in a minute; waiting for the next", k.env.connectsPerMinute),
			}
			return v.waiting(wait, f, func(next time.Time) event.Body {
				return event.AttemptFailed{Cause: f.Cause, Detail: f.Detail, NextAttempt: next, Attempt: v.attempts}
			})
		}
		var after step
		if !k.env.handshakes.run(ctx, func() { after = v.attempt(ctx) }) {
			return nil
		}
		return after
	}
}

// attempt makes it, when its turn has come. It is run by a goroutine that is not the vigil's, whose stack stays as long as the link does.
func (v *vigil) attempt(ctx context.Context) step {
	k := v.k
	v.attempts++
	ctx, span := k.env.tracer.Connect(v.asked.Into(ctx), k.id, v.attempts, v.address)
	v.asked = trace.Context{}
	k.change(event.Attempting{Attempt: v.attempts, Endpoint: v.address}, func(s *event.Status) {
		s.State, s.Attempt, s.Endpoint = event.Connecting, v.attempts, v.address
		s.Trace = span.TraceID()
		s.Counters.Attempts++
	})
	cred, candidate, err := k.env.credentialFor(k.id)
	if err != nil {
		span.End(traceKind(err), err)
		return v.noCredential(err)
	}
	opened, err := v.open(ctx, cred)
	span.End(traceKind(err), err)
	if ctx.Err() != nil {
		if opened != nil {
			closeLink(opened)
		}
		return nil
	}
	if err != nil {
		return v.failed(asFailure(err), candidate)
	}
	return v.accepted(opened, cred, candidate)
}

// open logs in with a fresh signature, within the connect timeout.
func (v *vigil) open(ctx context.Context, cred credential.Credential) (link, error) {
	ctx, cancel := context.WithTimeout(ctx, v.settings.Value().ConnectTimeout)
	defer cancel()
	v.k.loggingIn()
	a := attempt{id: v.k.id, settings: v.settings.Value(), login: v.login(cred), onMessage: v.k.inbound}
	return v.k.env.open(ctx, a)
}

func (v *vigil) login(c credential.Credential) platform.Login {
	s := v.settings.Value()
	o := platform.LoginOptions{
		SignMethod: s.SignMethod, PlainTCP: s.TLS.PlainTCP, InterfaceInfo: s.InterfaceInfo,
		Timestamp: strconv.FormatInt(time.Now().UnixMilli(), 10), Version: v.k.env.version,
	}
	switch c.Kind {
	case credential.DeviceSecret: // below
	case credential.DeviceToken:
		return platform.TokenLogin(v.k.id, c.ClientID, c.Secret, o)
	case credential.MQTT:
		return platform.Login{ClientID: c.ClientID, Username: c.Username, Password: c.Secret}
	}
	return platform.SecretLogin(v.k.id, c.Secret, o)
}

// accepted writes down that the platform took the credential, and tells.
func (v *vigil) accepted(l link, cred credential.Credential, candidate bool) step {
	k := v.k
	if candidate {
		if err := k.env.credentials.Promote(k.id); err != nil {
			k.log().Error("an accepted credential could not be put in its place; it stays beside the old one", "error", err)
		}
	}
	if !v.established {
		v.established = true
		if err := k.env.remember(k.id, wanted{Settings: v.settings.Value(), Established: true}); err != nil {
			k.log().Error("that the device was online could not be written down", "error", err)
		}
	}
	return func(ctx context.Context) step { return v.online(ctx, l, cred) }
}

// online tells that the link is up, and has it carry messages.
func (v *vigil) online(ctx context.Context, l link, cred credential.Credential) step {
	k, since := v.k, time.Now()
	k.env.measures.online.Since(v.since)
	k.lanes.open(v.settings.Value().MaxQueued) // whoever hears that it is online may publish
	news := event.WentOnline{SessionPresent: l.SessionPresent(), ConnackTime: since, Endpoint: v.address, Attempt: v.attempts}
	k.change(news, func(s *event.Status) {
		k.link, k.failure = l, nil
		s.State, s.SessionPresent, s.Credential = event.Online, l.SessionPresent(), describeCredential(cred)
		s.Counters.Connects++
	})
	k.warn(l.Warnings())
	return v.holding(ctx, l, v.carry(ctx, l, autoSubscribes(cred)), since)
}

// holding rests until the link has ended, or is no longer wanted, or a suspicion can be dropped.
func (v *vigil) holding(ctx context.Context, l link, carried *carriage, since time.Time) step {
	suspected := v.takeover.suspected
	v.rest = func(wake func()) (forget func()) {
		l.WhenDone(wake)
		stop := context.AfterFunc(ctx, wake)
		if !suspected {
			return func() { stop() }
		}
		calm := time.AfterFunc(peace, wake)
		return func() {
			stop()
			calm.Stop()
		}
	}
	return func(ctx context.Context) step {
		switch {
		case isDone(l):
			v.release(l, carried)
			return v.lost(l.Failure(), time.Since(since))
		case ctx.Err() != nil:
			v.release(l, carried)
			return nil
		}
		v.takeover = takeover{}
		v.k.change(nil, func(s *event.Status) { s.TakeoverSuspected = false })
		return v.holding(ctx, l, carried, since)
	}
}

// release ends what a link carried, and then the link.
func (v *vigil) release(l link, carried *carriage) {
	carried.end()
	v.k.dropLink(l)
}

// carriage is what carries messages over a link.
type carriage struct {
	k       *Keeper
	cancel  context.CancelFunc
	changed errands[struct{}] // notes that the filters have
	calls   errands[struct{}] // to send: there may be something
	sender  *sender           // nil until there was something
}

// newCarriage has room for so many messages under way.
func (k *Keeper) newCarriage(ctx context.Context, l link, window int) *carriage {
	c := &carriage{k: k}
	ctx, c.cancel = context.WithCancel(ctx)
	c.changed.run = func(next func() []struct{}) { k.keepSubscribed(ctx, l, next, c.stand) }
	c.calls.run = func(next func() []struct{}) {
		if c.sender == nil {
			c.sender = k.newSender(ctx, l, window)
		}
		c.sender.loop(ctx, next)
	}
	return c
}

// carry starts one: first the subscriptions, then the sending.
func (v *vigil) carry(ctx context.Context, l link, auto bool) *carriage {
	k, c := v.k, v.k.newCarriage(ctx, l, max(v.settings.Value().MaxInflight, 1))
	k.filters.up(l.SessionPresent(), auto, func() { c.changed.add(struct{}{}) })
	if subscribe, unsubscribe := k.filters.work(); len(subscribe)+len(unsubscribe) > 0 {
		c.changed.add(struct{}{})
	} else { // most devices have none: thousands that come online at once need no goroutine for that
		c.stand()
	}
	return c
}

// stand has messages sent from now on: what was to be subscribed is.
func (c *carriage) stand() {
	c.k.lanes.call(func() { c.calls.add(struct{}{}) })
	if c.k.theOutbox() != nil {
		c.k.lanes.ring() // there may be something in it
	}
}

// end ends it, and waits: for a while for the acknowledgements of what is under way.
func (c *carriage) end() {
	c.cancel()
	c.k.filters.quiet()
	c.changed.finish()
	c.k.lanes.close(ErrNotOnline) // what waits was not sent
	c.calls.finish()
	if c.sender != nil {
		c.sender.finish()
	}
	c.k.filters.down()
}

// autoSubscribes reports whether the login asks the platform to send on system topics unasked; a ready-made one may not.
func autoSubscribes(c credential.Credential) bool {
	if c.Kind != credential.MQTT {
		return true
	}
	id, err := platform.ParseClientID(c.ClientID)
	return err == nil && id.Get("_ss") == "1"
}

// lost tells why the link ended, and waits.
func (v *vigil) lost(f *Failure, held time.Duration) step {
	v.since = time.Now()
	v.backoff.held(held)
	if held >= steady {
		v.attempts = 0
	}
	wait := v.backoff.next()
	suspected, news := v.takeover.lost(f, held)
	if news {
		v.k.env.measures.takeovers.Add(1)
	}
	if suspected {
		wait = max(wait, between(truceMin, truceMax))
		f = &Failure{Cause: event.CauseTakeoverSuspected, Err: f, Detail: fmt.Sprintf(
			"the server closed the link soon after accepting it, %d times in a row: another program seems to log in as this device", v.takeover.inARow)}
	}
	v.k.env.measures.losses.add(f.Cause)
	return v.waiting(wait, f, func(next time.Time) event.Body {
		v.k.change(event.Lost{Cause: f.Cause, Detail: f.Detail, NextAttempt: next, Held: held}, func(s *event.Status) {
			s.Counters.Losses++
			s.SessionPresent = false
			s.State, s.NextAttempt, s.TakeoverSuspected = event.Waiting, next, suspected
			s.LastCause, s.LastDetail, s.LastCauseTime = f.Cause, f.Detail, time.Now()
		})
		if !news {
			return nil
		}
		return event.TakeoverSuspected{Losses: v.takeover.inARow, NextAttempt: next}
	})
}

// failed tells why an attempt came to nothing, and waits or gives up.
func (v *vigil) failed(f *Failure, candidate bool) step {
	k := v.k
	final := f.Refused() && f.Cause != event.CauseConnackServerUnavailable
	if f.Refused() {
		k.env.measures.refused(f.Code)
		k.change(nil, func(s *event.Status) { s.Counters.Refusals++ })
	} else {
		k.env.measures.failures.add(f.Cause)
	}
	if final && !v.established {
		return v.reject(f, candidate, event.Refused{Code: f.Code, Meaning: meaning(f).Meaning, Advice: meaning(f).Advice})
	}
	wait := v.backoff.next()
	if final {
		wait = v.backoff.max // the console can disable a device and enable it again; ask, but seldom
	}
	if v.takeover.suspected {
		wait = max(wait, between(truceMin, truceMax))
	}
	return v.waiting(wait, f, func(next time.Time) event.Body {
		if f.Refused() {
			return event.Refused{Code: f.Code, Meaning: meaning(f).Meaning, Advice: meaning(f).Advice, WillRetry: true, NextAttempt: next}
		}
		return event.AttemptFailed{Cause: f.Cause, Detail: f.Detail, NextAttempt: next, Attempt: v.attempts}
	})
}

func meaning(f *Failure) platform.ConnackMeaning { return platform.Connack(f.Code, f.Registering) }

func (v *vigil) noCredential(err error) step {
	if errors.Is(err, credential.ErrNotFound) {
		v.k.env.measures.failures.add(event.CauseNoCredential)
		f := &Failure{Cause: event.CauseNoCredential, Err: err, Detail: "the sidecar has no credential for the device: register it, or give one with Connect"}
		return v.reject(f, false, event.AttemptFailed{Cause: f.Cause, Detail: f.Detail, Attempt: v.attempts})
	}
	v.k.env.measures.failures.add(event.CauseStorage)
	f := &Failure{Cause: event.CauseStorage, Err: storage(err), Detail: "the stored credential cannot be used: " + err.Error()}
	return v.waiting(v.backoff.max, f, func(next time.Time) event.Body {
		return event.AttemptFailed{Cause: f.Cause, Detail: f.Detail, NextAttempt: next, Attempt: v.attempts}
	})
}

// reject rests: only another Connect leaves this state. What was refused is forgotten, so that a restart does not ask again.
func (v *vigil) reject(f *Failure, candidate bool, body event.Body) step {
	k := v.k
	if candidate {
		if err := k.env.credentials.DropCandidate(k.id); err != nil {
			k.log().Error("a refused credential could not be removed", "error", err)
		}
	}
	if err := k.env.desired.DeleteDesired(k.id); err != nil {
		k.log().Error("a refused device stays written down as wanted", "error", err)
	}
	info := k.env.credentialInfo(k.id)
	v.refusal = f
	v.rejected.Store(true)
	k.fail(f, body, func(s *event.Status) {
		s.State, s.Wanted, s.Credential = event.Rejected, false, info
		k.vigil = nil
	})
	return nil
}

// waiting lets wait pass. tell, when given, says what happened, now that the time of the next attempt is known.
func (v *vigil) waiting(wait time.Duration, f *Failure, tell func(next time.Time) event.Body) step {
	return func(ctx context.Context) step {
		wait = max(wait, v.k.loginWait())
		next := time.Now().Add(wait)
		f.NextAttempt = next
		var body event.Body
		if tell != nil {
			body = tell(next)
		}
		v.k.fail(f, body, func(s *event.Status) { s.State, s.NextAttempt = event.Waiting, next })
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			return v.connecting()
		case <-ctx.Done():
			return nil
		}
	}
}

func asFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Cause: event.CauseNetwork, Err: err, Detail: err.Error()}
}
