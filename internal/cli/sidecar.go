package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/admin"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/server"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace/otlp"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

// sidecarOptions are what a sidecar is made from.
type sidecarOptions struct {
	stateDir      string
	credentialKey string // file; "" stores credentials readable
	journalEvents int    // 0 is the store's default
	journalBytes  int64  // the same
	extraCA       []*x509.Certificate
	version       string
	perMinute     int // logins of one device; 0 is no limit
	handshakes    int
	outbox        outbox.Options
	inbox         inbox.Options
	rates         conn.Rates
	declared      []conn.ConnectRequest // to be brought online
	servers       []server.Options      // Devices, Events, Log and Metrics are filled in
	admin         admin.Options         // Address "" is none
	traces        *otlp.Export          // nil exports none; closed with the sidecar
	log           *slog.Logger
}

// sidecar is all rooms of one sidecar, built and not yet running.
type sidecar struct {
	o           sidecarOptions
	db          *store.DB
	tracer      *trace.Tracer // may be nil
	credentials *credential.Store
	events      *event.Log
	devices     *conn.Set
	servers     []*server.Server
	admin       *admin.Server // nil when there is none
	closers     []func() error
}

// openSidecar builds the rooms bottom-up. Its errors are refusals to start: one line each, and nothing stays open.
func openSidecar(o sidecarOptions) (*sidecar, error) {
	s := &sidecar{o: o, tracer: o.traces.Tracer()}
	if o.traces != nil {
		s.closers = append(s.closers, o.traces.Close) // last of all: until then there are spans that end
		s.o.log = slog.New(trace.Handler(o.log.Handler()))
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sidecar) open() error {
	if err := statedir.Prepare(s.o.stateDir); err != nil {
		return err
	}
	unlock, err := statedir.Lock(s.o.stateDir)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, unlock)
	db, err := store.Open(s.o.stateDir, s.o.log, store.KeepEvents(s.o.journalEvents, s.o.journalBytes))
	if err != nil {
		return err
	}
	s.db = db
	s.closers = append(s.closers, db.Close)
	if s.credentials, err = credential.Open(s.o.stateDir, credential.Options{KeyFile: s.o.credentialKey, Log: s.o.log}); err != nil {
		return err
	}
	if s.events, err = event.New(db, s.o.log); err != nil {
		return err
	}
	if s.devices, err = conn.NewSet(conn.Options{
		Credentials: s.credentials, Desired: db, Events: s.events, Log: s.o.log, ExtraCA: s.o.extraCA, Version: s.o.version,
		ConnectsPerMinute: s.o.perMinute, Handshakes: s.o.handshakes, Queues: db, Outbox: s.o.outbox, Inbox: s.o.inbox, Rates: s.o.rates,
		Tracer: s.tracer,
	}); err != nil {
		return err
	}
	if err := s.warnOfSetAside(db); err != nil {
		return err
	}
	return s.listen()
}

// warnOfSetAside tells of what was damaged: devices may be missing because of it.
func (s *sidecar) warnOfSetAside(db *store.DB) error {
	if path := db.SetAside(); path != "" {
		s.devices.Warn(event.Warning{
			Code:   event.WarnStateSetAside,
			Detail: "the database was damaged and has been set aside as " + path + "; a new one was begun: connect the devices again that should be online",
		})
	}
	files, err := s.credentials.SetAside()
	for _, path := range files {
		s.devices.Warn(event.Warning{
			Code:   event.WarnStateSetAside,
			Detail: "a damaged credential has been set aside as " + path + "; give the device a credential again, then remove the file",
		})
	}
	return err
}

// listen binds every address.
func (s *sidecar) listen() error {
	registry := prometheus.NewRegistry()
	for _, o := range s.o.servers {
		o.Devices, o.Messages, o.Events, o.Log, o.Tracer = s.devices, s.devices, s.events, s.o.log, s.tracer
		if s.o.admin.Address != "" {
			o.Metrics = registry
		}
		listener, err := server.New(o)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, listener)
		s.closers = append(s.closers, listener.Close)
	}
	if s.o.admin.Address == "" {
		return nil
	}
	o := s.o.admin
	o.Registry, o.Devices, o.Events, o.Store, o.Log, o.Version = registry, s.devices, s.events, s.db, s.o.log, s.o.version
	o.Roots, o.Answers = s.roots(), s.answers
	var err error
	if s.admin, err = admin.New(o); err != nil {
		return err
	}
	s.closers = append(s.closers, s.admin.Close)
	return nil
}

// roots are the certificates that all devices trust.
func (s *sidecar) roots() (all []admin.Root) {
	for _, c := range slices.Concat(trust.Roots(), s.o.extraCA) {
		all = append(all, admin.Root{Name: trust.Name(c), Expires: c.NotAfter})
	}
	return all
}

// answers tells which address does not answer; nil when all do.
func (s *sidecar) answers(ctx context.Context) error {
	for _, listener := range s.servers {
		if err := listener.Answers(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addresses are where it listens.
func (s *sidecar) addresses() []string {
	all := make([]string, len(s.servers))
	for i, listener := range s.servers {
		all[i] = listener.Address()
	}
	return all
}

// run runs every loop until ctx ends or one of them cannot go on, and then stops them from the outside in: nobody can ask for
// anything any more before the links are closed, and the links are closed before the log of what happened to them is.
// ready is called when calls are answered.
func (s *sidecar) run(ctx context.Context, ready func() error) error {
	all, ctx := errgroup.WithContext(ctx)
	deviceLife, endDevices := context.WithCancel(context.WithoutCancel(ctx))
	logLife, endLog := context.WithCancel(context.WithoutCancel(ctx))
	defer endDevices()
	defer endLog()
	var serving sync.WaitGroup
	serve := func(run func(context.Context) error) {
		serving.Add(1)
		all.Go(func() error {
			defer serving.Done()
			return run(ctx)
		})
	}

	all.Go(func() error { s.events.Run(logLife); return nil })
	all.Go(func() error { defer endLog(); return s.devices.Run(deviceLife) })
	for _, listener := range s.servers {
		serve(listener.Run)
	}
	if s.admin != nil {
		serve(s.admin.Run)
	}
	serve(s.bringUpDeclared)
	all.Go(func() error { serving.Wait(); endDevices(); return nil })
	all.Go(ready)
	return errors.Join(all.Wait(), s.close())
}

// bringUpDeclared asks for what the configuration declares, as an app would. What fails is logged, with its event or here, shows in
// the status, and keeps nothing else from working.
func (s *sidecar) bringUpDeclared(ctx context.Context) error {
	for _, r := range s.o.declared {
		_, err := s.devices.Connect(ctx, r)
		if _, told := errors.AsType[*conn.Failure](err); err != nil && !told && ctx.Err() == nil {
			s.o.log.Error("a device of the configuration cannot be brought online", "device", r.Device, "error", err)
		}
	}
	return nil
}

// close releases what open took, last first.
func (s *sidecar) close() error {
	var all []error
	for _, c := range slices.Backward(s.closers) {
		all = append(all, c())
	}
	s.closers = nil
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("cannot close in good order: %w", err)
	}
	return nil
}
