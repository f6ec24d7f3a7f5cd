package conn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// RegisterRequest says which device to register, how, and where.
type RegisterRequest struct {
	// Registration without its Random, which is drawn anew for each.
	Registration platform.Registration
	// Target says how to reach and trust the server; its Endpoint is that of the Registration.
	Target Target
	// Replace a credential that is stored.
	Replace bool
}

// Register obtains a credential from the platform and stores it before it returns. A registration that has begun goes on when
// ctx ends: what the platform gives out is stored, and told by an event. A refusal touches nothing that is stored.
func (s *Set) Register(ctx context.Context, r RegisterRequest) (credential.Credential, error) {
	r.Target.Endpoint = r.Registration.Endpoint
	if err := r.validate(); err != nil {
		return credential.Credential{}, err
	}
	k, err := s.hold(ctx, r.Registration.ID, true)
	if err != nil {
		return credential.Credential{}, err
	}
	if !k.registering.TryLock() {
		s.release(k)
		return credential.Credential{}, ErrRegistrationInProgress
	}
	k.setBusy(true)
	s.release(k)

	type outcome struct {
		stored credential.Credential
		err    error
	}
	done := make(chan outcome, 1)
	life, span := s.env.tracer.Register(trace.From(ctx).Into(s.life), k.id, r.Registration.Method.String())
	s.work.Go(func() {
		stored, err := s.register(life, k, r)
		span.End(traceKind(err), err)
		k.setBusy(false)
		k.registering.Unlock()
		s.forgetIfBlank(k)
		done <- outcome{stored, err}
	})
	select {
	case o := <-done:
		return o.stored, o.err
	case <-ctx.Done():
		return credential.Credential{}, ctx.Err()
	}
}

func (r RegisterRequest) validate() error {
	if r.Target.TLS.PlainTCP {
		return fieldError("tls.plain_tcp", "is not possible here: the platform registers over TLS only")
	}
	if err := r.Registration.Validate(); err != nil {
		return err
	}
	return r.Target.validate(r.Registration.ID)
}

// register does one registration from note to note: intent, platform, credential, end.
func (s *Set) register(ctx context.Context, k *Keeper, r RegisterRequest) (credential.Credential, error) {
	if err := s.mayRegister(k.id, r.Replace); err != nil {
		return credential.Credential{}, err
	}
	if k.unstored != nil { // what the platform gave out before counts; asking again could be refused
		return s.keep(k, r, *k.unstored)
	}
	r.Registration.Random = rand.Text()
	intent := credential.Intent{Method: r.Registration.Method.String(), Endpoint: r.address(), StartedAt: time.Now()}
	if err := s.env.credentials.Begin(k.id, intent); err != nil {
		return credential.Credential{}, storage(err)
	}
	got, err := s.env.obtain(ctx, k, r)
	if err != nil {
		return credential.Credential{}, s.unregistered(k, r, err)
	}
	c := credential.Credential{Kind: credential.DeviceSecret, Secret: got.DeviceSecret, Source: "register/" + r.Registration.Method.String()}
	if r.Registration.Method == platform.RegistrationFree {
		c.Kind, c.ClientID, c.Secret = credential.DeviceToken, got.ClientID, got.DeviceToken
	}
	return s.keep(k, r, c)
}

// mayRegister refuses to replace a credential unasked; one that cannot be read counts.
func (s *Set) mayRegister(id device.ID, replace bool) error {
	_, err := s.env.credentials.Get(id)
	switch {
	case errors.Is(err, credential.ErrNotFound), replace:
		return nil
	case err == nil:
		return ErrCredentialExists
	}
	return storage(err)
}

// keep stores what a registration gave, and tells. What cannot be stored is kept in memory for the next Register.
func (s *Set) keep(k *Keeper, r RegisterRequest, c credential.Credential) (credential.Credential, error) {
	if err := s.env.credentials.Put(k.id, c); err != nil {
		k.unstored = &c
		err = fmt.Errorf("the platform gave a credential out and it cannot be stored; make room and register again, it is kept in memory until then: %w", storage(err))
		return credential.Credential{}, s.failedRegistration(k, r, err, event.RegistrationFailed{Cause: event.CauseStorage, Interrupted: true})
	}
	k.unstored = nil
	stored, err := s.env.credentials.Get(k.id)
	if err != nil {
		return credential.Credential{}, storage(err)
	}
	// A candidate from before would be tried first.
	if err := errors.Join(s.env.credentials.DropCandidate(k.id), s.env.credentials.End(k.id)); err != nil {
		k.log().Error("a registration is stored, and the notes about it could not be removed", "error", err)
	}
	info := describeCredential(stored)
	k.change(event.Registered{Method: r.Registration.Method.String(), Credential: *info}, func(st *event.Status) {
		st.Credential, st.RegistrationInterrupted = info, false
	})
	return stored, nil
}

// unregistered tells why a registration came to nothing. The note stays when the platform may have given a credential out.
func (s *Set) unregistered(k *Keeper, r RegisterRequest, err error) error {
	body := event.RegistrationFailed{Interrupted: true}
	failure, reached := errors.AsType[*Failure](err)
	refused, told := errors.AsType[*platform.RegistrationRefusedError](err)
	switch {
	case told:
		body.Cause, body.Code, body.Interrupted = event.CauseRegistrationRefused, refused.Code, false
	case reached:
		body.Cause, body.Code, body.Interrupted = failure.Cause, int(failure.Code), failure.mayHaveRegistered
	case errors.Is(err, ErrRegistrationNoReply):
		body.Cause = event.CauseRegistrationNoReply
	case errors.Is(err, ErrRegistrationReply):
		body.Cause = event.CauseProtocolViolation
	case errors.Is(err, ErrShuttingDown):
		body.Cause = event.CauseShutdown
	}
	if !body.Interrupted {
		if err := s.env.credentials.End(k.id); err != nil {
			k.log().Error("the note of a refused registration could not be removed", "error", err)
		}
	}
	return s.failedRegistration(k, r, err, body)
}

func (s *Set) failedRegistration(k *Keeper, r RegisterRequest, err error, body event.RegistrationFailed) error {
	body.Method, body.Detail = r.Registration.Method.String(), err.Error()
	k.tellRegistrationFailed(body)
	return err
}

// address is the server as people know it.
func (r RegisterRequest) address() string {
	if r.Registration.Method == platform.HTTPSLegacy {
		return r.url()
	}
	return r.Target.address(r.Registration.ID)
}

func (r RegisterRequest) url() string {
	if e := r.Registration.Endpoint; e.Custom() {
		return platform.CustomRegistrationURL(e.Host, e.Port)
	}
	return platform.RegistrationURL(r.Registration.Endpoint.Region)
}

// forgetIfBlank drops the keeper of a device of which nothing is known after all. Whoever holds it does so at release.
func (s *Set) forgetIfBlank(k *Keeper) {
	select {
	case k.asking <- struct{}{}:
		s.release(k)
	default:
	}
}

func (k *Keeper) setBusy(busy bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = busy
}

// tellRegistrationFailed tells why; a device of which nothing else is known does not become known by it.
func (k *Keeper) tellRegistrationFailed(body event.RegistrationFailed) {
	k.change(body, func(st *event.Status) { st.RegistrationInterrupted = body.Interrupted })
}
