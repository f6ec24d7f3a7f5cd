// Package admin is the page for operators: probes and metrics over HTTP, and profiles when they are asked for.
//
// Nothing guards it, so it listens on loopback only, unless its owner says otherwise. Devices are counted together; their names are
// shown only when the operator asks for it. It never shares a listener with gRPC. Nobody counts for it: what it shows, it reads from
// the rooms when it is asked, so that a sidecar that nobody looks at does nothing for it.
//
// New binds, Run serves until its context ends.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

// Devices is what is asked about devices. *conn.Set answers.
type Devices interface {
	Figures() conn.Figures
	Devices() []event.Status // in the order of product key and device name
	Device(id device.ID) (event.Status, error)
}

// Events is what is asked about events. *event.Log answers.
type Events interface{ Figures() event.Figures }

// Store is what is asked about the database. *store.DB answers.
type Store interface{ Figures() store.Figures }

// Options say where to listen and what to show. All but the switches must be there.
type Options struct {
	Address   string // HOST:PORT; port 0 is any that is free
	Exposed   bool   // let the address be one that other machines reach
	Profiles  bool   // serve /debug/pprof
	PerDevice int    // how many devices have metrics of their own; 0 is none

	Version  string
	Registry *prometheus.Registry
	Devices  Devices
	Events   Events
	Store    Store
	Roots    []Root
	// Answers tells why the API does not answer, by calling it; nil when it does.
	Answers func(context.Context) error
	Log     *slog.Logger
}

// Server is the page. Make one with New.
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
	serving  atomic.Bool
}

const (
	// farewell is how long a request under way may take when the page closes.
	farewell = time.Second
	// scrapes is how many may be under way: one that waits for a lock must not gather others behind it.
	scrapes = 4
)

// New binds the address and registers what is shown. A Server that is not run must be closed.
func New(o Options) (*Server, error) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("--admin-address %q must be HOST:PORT", o.Address)
	}
	if !o.Exposed && host != "localhost" && !loopback(host) {
		return nil, errReachable(o.Address)
	}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{o},
	} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics cannot be registered: %w", err)
		}
	}
	s := &Server{o: o}
	if s.listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", o.Address); err != nil {
		return nil, fmt.Errorf("--admin-address: cannot listen: %w", err)
	}
	// "localhost" is whatever the resolver makes of it.
	if got, _, err := net.SplitHostPort(s.Address()); !o.Exposed && (err != nil || !loopback(got)) {
		return nil, errors.Join(errReachable(o.Address), s.listener.Close())
	}
	s.http = &http.Server{
		Handler: s.pages(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func errReachable(address string) error {
	return fmt.Errorf("--admin-address %s can be reached from other machines, and nothing guards it: use 127.0.0.1, or say --admin-exposed", address)
}

// pages are what there is to see.
func (s *Server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.o.Registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelError), MaxRequestsInFlight: scrapes, Timeout: 20 * time.Second,
	}))
	if s.o.Profiles {
		addProfiles(mux)
	}
	return mux
}

// Address is where the page is, "HOST:PORT" with the port that it got.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Run serves until ctx ends. The error is nil unless it could not go on.
func (s *Server) Run(ctx context.Context) error {
	s.serving.Store(true)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("the admin page: %w", err)
	case <-ctx.Done():
	}
	s.serving.Store(false)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if s.http.Shutdown(last) != nil {
		_ = s.http.Close()
	}
	<-served //nolint:errcheck // http.ErrServerClosed: we closed it
	return nil
}

// Close gives up the address of a page that was not run. After Run it does nothing.
func (s *Server) Close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
