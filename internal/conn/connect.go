package conn

import (
	"context"
	"errors"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// Wait says what Connect waits for.
type Wait int

// The zero Wait is WaitOutcome.
const (
	// WaitOutcome waits for the outcome of the first attempt. When ctx ends before, the device stays wanted.
	WaitOutcome Wait = iota
	// WaitOutcomeOrGiveUp: when ctx ends before, the device is no longer wanted, unless it was before the call.
	WaitOutcomeOrGiveUp
	// WaitNone returns as soon as the wish is written down.
	WaitNone
)

// ConnectRequest says which device to keep online, and how.
type ConnectRequest struct {
	Device device.ID
	// Credential to log in with; nil is the stored one. It takes the stored one's place when the platform has accepted it.
	Credential *credential.Credential
	Settings   Settings
	Wait       Wait
	// Replace the settings (and credential) with which the device is wanted now.
	Replace bool
}

// Connect makes the sidecar keep a device online until Disconnect. For a device that is wanted with the same settings it
// changes nothing and tells how things stand. A nil error means online (or, with WaitNone, wanted).
func (s *Set) Connect(ctx context.Context, r ConnectRequest) (event.Status, error) {
	if err := r.validate(); err != nil {
		return event.Status{}, err
	}
	k, err := s.hold(ctx, r.Device, true)
	if err != nil {
		return event.Status{}, err
	}
	v, fresh, err := s.want(ctx, k, r)
	s.release(k)
	if err != nil || r.Wait == WaitNone {
		return k.Status(), err
	}
	status, err := s.await(ctx, k, v)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && fresh && r.Wait == WaitOutcomeOrGiveUp {
		s.giveUp(k, v)
		status = k.Status()
	}
	return status, err
}

func (r ConnectRequest) validate() error {
	if err := r.Device.Validate(); err != nil {
		return err
	}
	if err := r.Settings.Validate(r.Device); err != nil {
		return err
	}
	if r.Credential == nil {
		return nil
	}
	if r.Credential.Kind == credential.MQTT && r.Settings.InterfaceInfo != "" {
		return fieldError("network_interfaces", "cannot be put into a ready-made login")
	}
	return r.Credential.Validate()
}

// want writes down what is wanted and sees to it. fresh reports whether the device was not wanted before. The device is held.
func (s *Set) want(ctx context.Context, k *Keeper, r ConnectRequest) (v *vigil, fresh bool, err error) {
	old := k.watching()
	if old != nil {
		switch {
		case old.settings.Value() == r.Settings && (r.Credential == nil || s.same(k.id, *r.Credential)):
			return old, false, nil
		case !r.Replace:
			return nil, false, ErrSettingsConflict
		}
	}
	if err := s.offer(k.id, r.Credential); err != nil {
		return nil, false, err
	}
	w := wanted{Settings: r.Settings}
	if err := s.env.remember(k.id, w); err != nil {
		return nil, false, err
	}
	if old != nil {
		old.stop(errReplaced)
		select {
		case <-old.done:
		case <-ctx.Done():
			// What is wanted is written down, so it must come about.
			<-old.done
		}
	}
	info := s.env.credentialInfo(k.id)
	k.change(nil, func(st *event.Status) { st.Credential = info })
	return k.watch(s, w, trace.From(ctx)), old == nil, nil
}

// offer stores the credential that was given, if it is new, as a candidate. With none given there must be one.
func (s *Set) offer(id device.ID, given *credential.Credential) error {
	if given == nil {
		_, _, err := s.env.credentialFor(id)
		if errors.Is(err, credential.ErrNotFound) {
			return ErrNoCredential
		}
		return storage(err)
	}
	stored, err := s.env.credentials.Get(id)
	if err == nil && stored.Same(*given) {
		return storage(s.env.credentials.DropCandidate(id))
	}
	return storage(s.env.credentials.PutCandidate(id, *given))
}

// giveUp ends the wish that one call expressed, unless another call has taken it over.
func (s *Set) giveUp(k *Keeper, v *vigil) {
	ctx, cancel := context.WithTimeout(s.life, closeTimeout)
	defer cancel()
	held, err := s.hold(ctx, k.id, false)
	if err != nil {
		return
	}
	defer s.release(held)
	if held.watching() == v {
		if err := s.disconnect(ctx, held); err != nil {
			k.log().Error("a device that its caller gave up stays wanted", "error", err)
		}
	}
}

// await waits until v has come to something: nil when online, else why not.
func (s *Set) await(ctx context.Context, k *Keeper, v *vigil) (event.Status, error) {
	for {
		k.mu.Lock()
		status, failure, now, changed := k.statusLocked(), k.failure, k.vigil, k.changed.next()
		k.mu.Unlock()
		switch {
		case v.rejected.Load():
			return status, v.refusal
		case now != v && s.life.Err() != nil:
			return status, ErrShuttingDown
		case now != v:
			return status, ErrSuperseded
		case status.State == event.Online:
			return status, nil
		case status.State == event.Waiting && failure != nil:
			return status, failure
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status, ctx.Err()
		}
	}
}
