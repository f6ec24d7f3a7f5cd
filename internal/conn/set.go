package conn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// Set is all devices of one sidecar. Make one with NewSet; its methods may be called from any goroutine.
type Set struct {
	env *environment

	life    context.Context // of every goroutine below; ends with errShutdown
	end     context.CancelCauseFunc
	work    sync.WaitGroup // vigils and registrations
	resumed chan struct{}  // closed when Run has brought up what was wanted before

	mu      sync.Mutex
	keepers map[device.ID]*Keeper
	stored  map[device.ID]wanted // what Run brings up
	past    event.Counters       // of devices that are no longer known
}

// NewSet reads which devices are known. It starts nothing: Run does.
func NewSet(o Options) (*Set, error) {
	s := &Set{env: newEnvironment(o), keepers: map[device.ID]*Keeper{}, stored: map[device.ID]wanted{}, resumed: make(chan struct{})}
	s.life, s.end = context.WithCancelCause(context.Background())
	if err := s.load(); err != nil {
		s.end(err)
		s.work.Wait()
		return nil, storage(err)
	}
	for _, k := range s.keepers {
		s.env.events.Know(k.Status())
	}
	return s, nil
}

// load makes a keeper for each device that something is stored of.
func (s *Set) load() error {
	ids, err := s.env.credentials.IDs()
	if err != nil {
		return err
	}
	opened := s.env.credentials.Opened()
	for _, id := range ids {
		k := s.keeper(id)
		if c, read := opened[id]; read {
			k.status.Credential = describeCredential(c)
		} else {
			k.status.Credential = s.env.credentialInfo(id)
		}
	}
	records, err := s.env.desired.Desired()
	if err != nil {
		return err
	}
	for id, record := range records {
		w := wanted{Settings: DefaultSettings()}
		if err := json.Unmarshal(record, &w); err != nil {
			s.env.log.Error("what was wanted of a device cannot be read; it stays offline until it is connected again", "device", id, "error", err)
			continue
		}
		k := s.keeper(id)
		k.status.Wanted, k.status.Endpoint = true, w.Settings.address(id)
		s.stored[id] = w
	}
	return errors.Join(s.loadOutboxes(), s.loadInboxes(), s.loadInterrupted())
}

// loadOutboxes makes a keeper for each device that has STORED messages.
func (s *Set) loadOutboxes() error {
	if s.env.queues == nil {
		return nil
	}
	ids, err := outbox.Stored(s.env.queues)
	for _, id := range ids {
		if _, failed := s.keeper(id).openOutbox(); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// loadInterrupted tells of registrations whose end nobody saw.
func (s *Set) loadInterrupted() error {
	intents, err := s.env.credentials.Interrupted()
	if err != nil {
		return err
	}
	for id, intent := range intents {
		k := s.keeper(id)
		if c := k.status.Credential; c != nil && !c.StoredAt.Before(intent.StartedAt) {
			// Killed between storing the credential and taking the note away.
			if err := s.env.credentials.End(id); err != nil {
				s.env.log.Error("the note of a finished registration could not be removed", "device", id, "error", err)
			}
			continue
		}
		k.status.RegistrationInterrupted = true
		s.env.events.Publish(event.RegistrationFailed{
			Method: intent.Method, Cause: event.CauseShutdown, Interrupted: true,
			Detail: "the sidecar was stopped in the middle of a registration at " + intent.Endpoint + "; register again",
		}, k.Status())
	}
	return nil
}

// keeper returns the keeper of a device and makes one when there is none.
func (s *Set) keeper(id device.ID) *Keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keepers[id]
	if k == nil {
		k = newKeeper(id, s.env)
		s.keepers[id] = k
	}
	return k
}

// Run brings up what was wanted when the process before ended, and keeps it up until ctx ends. It returns when every link is
// closed.
func (s *Set) Run(ctx context.Context) error {
	for id, w := range s.stored {
		s.keeper(id).watch(s, w, trace.Context{})
	}
	s.stored = nil
	close(s.resumed)
	s.tickUntil(ctx)
	s.end(errShutdown)
	s.mu.Lock()
	for _, k := range s.keepers {
		k.readers.finish(ErrShuttingDown)
		k.answerers.finish(ErrShuttingDown)
	}
	s.mu.Unlock()
	s.work.Wait()
	s.tick(time.Now()) // what has ended is told
	return nil
}

// tickUntil does what is due every second, until ctx ends.
func (s *Set) tickUntil(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.tick(now)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Set) tick(now time.Time) {
	for _, k := range s.all() {
		k.tick(now)
	}
}

// all is every keeper, in no order.
func (s *Set) all() []*Keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.keepers))
}

// hold waits until the device is the caller's alone to change. create makes a keeper for a device that is not known. The caller
// calls release.
func (s *Set) hold(ctx context.Context, id device.ID, create bool) (*Keeper, error) {
	select { // what was wanted before comes first
	case <-s.resumed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		if s.life.Err() != nil {
			return nil, ErrShuttingDown
		}
		s.mu.Lock()
		k := s.keepers[id]
		s.mu.Unlock()
		if k == nil {
			if !create {
				return nil, ErrUnknownDevice
			}
			k = s.keeper(id)
		}
		if err := k.ask(ctx); err != nil {
			return nil, err
		}
		s.mu.Lock()
		current := s.keepers[id] == k
		s.mu.Unlock()
		if current {
			return k, nil
		}
		k.answer() // it was forgotten in the meantime
	}
}

// release gives the device back. One of which nothing is known after all is not kept.
func (s *Set) release(k *Keeper) {
	s.mu.Lock()
	if k.retire() {
		s.past.Add(k.Status().Counters)
		delete(s.keepers, k.id)
		k.readers.finish(ErrUnknownDevice)
		k.answerers.finish(ErrUnknownDevice)
	}
	s.mu.Unlock()
	k.answer()
}

// known is the keeper of a device that is known.
func (s *Set) known(id device.ID) (*Keeper, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keepers[id]
	switch {
	case s.life.Err() != nil:
		return nil, ErrShuttingDown
	case k == nil:
		return nil, ErrUnknownDevice
	}
	return k, nil
}

// Resolve names the device that a request means: itself, or the only one that is known when it names none.
func (s *Set) Resolve(id device.ID) (device.ID, error) {
	if !id.IsZero() {
		return id, id.Validate()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keepers) != 1 {
		return device.ID{}, fmt.Errorf("%w (it knows %d)", ErrAmbiguousDevice, len(s.keepers))
	}
	return slices.Collect(maps.Keys(s.keepers))[0], nil
}

// Device is what is known of one device; the error is ErrUnknownDevice.
func (s *Set) Device(id device.ID) (event.Status, error) {
	s.mu.Lock()
	k := s.keepers[id]
	s.mu.Unlock()
	if k == nil {
		return event.Status{}, ErrUnknownDevice
	}
	return k.Status(), nil
}

// Devices is what is known of all devices, in the order of product key and device name.
func (s *Set) Devices() []event.Status {
	all := s.all()
	slices.SortFunc(all, func(a, b *Keeper) int {
		return cmp.Or(cmp.Compare(a.id.ProductKey, b.id.ProductKey), cmp.Compare(a.id.DeviceName, b.id.DeviceName))
	})
	statuses := make([]event.Status, len(all))
	for i, k := range all {
		statuses[i] = k.Status()
	}
	return statuses
}

// Warn tells readers of something about the whole sidecar.
func (s *Set) Warn(w event.Warning) { s.env.events.Publish(w, event.Status{}) }

// Disconnect ends the wish to keep a device online. It returns when the link is closed; when ctx ends before, the link is being
// closed all the same. A device that is not wanted is fine.
func (s *Set) Disconnect(ctx context.Context, id device.ID) (event.Status, error) {
	k, err := s.hold(ctx, id, false)
	if err != nil {
		return event.Status{}, err
	}
	defer s.release(k)
	err = s.disconnect(ctx, k)
	return k.Status(), err
}

// disconnect is Disconnect while the device is held.
func (s *Set) disconnect(ctx context.Context, k *Keeper) error {
	if err := s.env.desired.DeleteDesired(k.id); err != nil {
		return storage(err)
	}
	v := k.watching()
	if v == nil {
		k.rest()
		return nil
	}
	v.stop(errRequested)
	select {
	case <-v.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Forget removes all that is stored of a device. With force it is disconnected first.
func (s *Set) Forget(ctx context.Context, id device.ID, force bool) error {
	k, err := s.hold(ctx, id, false)
	if err != nil {
		return err
	}
	defer s.release(k)
	if !k.registering.TryLock() {
		return ErrRegistrationInProgress
	}
	defer k.registering.Unlock()
	if k.watching() != nil && !force {
		return ErrStillConnected
	}
	if err := s.disconnect(ctx, k); err != nil {
		return err
	}
	if err := errors.Join(s.env.credentials.Delete(id), s.env.credentials.End(id)); err != nil {
		return storage(err)
	}
	if err := errors.Join(k.dropOutbox(), k.dropInboxes()); err != nil {
		return err
	}
	k.readers.finish(ErrUnknownDevice)
	k.answerers.finish(ErrUnknownDevice)
	k.change(event.Forgotten{}, func(st *event.Status) {
		*st = event.Status{Device: id, State: event.Idle, StateTime: time.Now(), Counters: st.Counters}
	})
	return nil
}

// same reports whether c is what the device logs in with anyway.
func (s *Set) same(id device.ID, c credential.Credential) bool {
	stored, _, err := s.env.credentialFor(id)
	return err == nil && stored.Same(c)
}
