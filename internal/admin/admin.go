// Package admin is the page for operators: /healthz, /readyz and /metrics over HTTP.
//
// Nothing guards it, so it listens on loopback only, unless its owner says otherwise, and it tells no names of devices.
// It never shares a listener with gRPC. New binds, Run serves until its context ends.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// Options say where to listen and what to show.
type Options struct {
	Address  string // HOST:PORT; port 0 is any that is free
	Exposed  bool   // let the address be one that other machines reach
	Registry *prometheus.Registry
	Devices  func() []event.Status
	Log      *slog.Logger
}

// Server is the page. Make one with New.
type Server struct {
	listener net.Listener
	http     *http.Server
	serving  atomic.Bool
}

// farewell is how long a request under way may take when the page closes.
const farewell = time.Second

// New binds the address and registers what is shown. A Server that is not run must be closed.
func New(o Options) (*Server, error) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("--admin-address %q must be HOST:PORT", o.Address)
	}
	if ip, err := netip.ParseAddr(host); !o.Exposed && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--admin-address %s can be reached from other machines, and nothing guards it: use 127.0.0.1, or say --admin-exposed", o.Address)
	}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), devices{o.Devices},
	} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics cannot be registered: %w", err)
		}
	}
	s := &Server{}
	if s.listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", o.Address); err != nil {
		return nil, fmt.Errorf("--admin-address: cannot listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.serving.Load()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelError)}))
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func answer(w http.ResponseWriter, ok bool) {
	if !ok {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
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
