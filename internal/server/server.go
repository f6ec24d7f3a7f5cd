package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	grpcmetrics "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// DefaultDrainTimeout is how long calls under way may take to finish once the sidecar stops.
const DefaultDrainTimeout = 10 * time.Second

// streamWorkers is how many goroutines stay to serve calls.
const streamWorkers = 64

// Options are what a Server needs. Address, Devices and Events must be there.
type Options struct {
	// Address is "unix:///PATH", or "HOST:PORT" for TCP, where port 0 takes any that is free.
	Address string
	Socket  Socket  // of a Unix socket
	TCP     TCP     // of TCP; must be empty for a Unix socket
	Policy  *Policy // nil permits everything to everybody who gets in
	Limits  Limits

	Devices Devices
	// Messages carries messages; nil leaves MessagingService out.
	Messages Messages
	// Events are what Events and health.Watch tell. Their readers are closed when the server stops.
	Events *event.Log
	Log    *slog.Logger
	// Metrics is where requests are counted; nil counts nothing. Several servers may share one.
	Metrics prometheus.Registerer
	// Tracer records calls and messages; nil records nothing.
	Tracer *trace.Tracer
	// DrainTimeout is how long calls under way may take to finish when the server stops; then they are cut off. 0 is
	// DefaultDrainTimeout.
	DrainTimeout time.Duration
}

// Server is one listener with the services behind it. Make one with New.
type Server struct {
	log         *slog.Logger
	listener    net.Listener
	address     string
	token       device.Secret     // that callers must send; zero when none is needed
	certificate *x509.Certificate // its own; nil without TLS
	mutual      bool              // callers must have a certificate
	policy      *Policy
	meter       *meter
	metrics     *grpcmetrics.ServerMetrics // may be nil
	events      *event.Log
	drain       time.Duration
	grpc        *grpc.Server
	stopping    chan struct{} // closed when the server stops
	stop        func()        // closes stopping
}

// New binds the address and makes everything ready. It serves nobody yet: Run does. Errors are one line, and say what to do.
// A Server that is not run must be closed.
func New(o Options) (*Server, error) {
	s := &Server{
		log: o.Log, policy: o.Policy, meter: newMeter(o.Limits.withDefaults()), events: o.Events, drain: o.DrainTimeout,
		stopping: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.stopping) })
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.drain <= 0 {
		s.drain = DefaultDrainTimeout
	}
	if err := s.countCalls(o.Metrics); err != nil {
		return nil, err
	}
	chain, err := s.chain()
	if err != nil {
		return nil, err
	}
	creds, reflect, err := s.listen(o)
	if err != nil {
		return nil, err
	}
	if err := s.show(o.Metrics); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.grpc = grpc.NewServer(slices.Concat(s.transport(creds), tracing(o.Tracer), chain)...)
	devices := &service{devices: o.Devices, events: o.Events, policy: o.Policy}
	pb.RegisterConnectivityServiceServer(s.grpc, devices)
	if o.Messages != nil {
		pb.RegisterMessagingServiceServer(s.grpc, &messaging{service: devices, messages: o.Messages, tracer: o.Tracer, stopping: s.stopping})
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, &health{devices: o.Devices, events: o.Events, policy: o.Policy, stopping: s.stopping})
	if reflect {
		reflection.RegisterV1(s.grpc)
	}
	if s.metrics != nil {
		s.metrics.InitializeMetrics(s.grpc)
	}
	return s, nil
}

// listen binds the address, and tells who must show what, and whether reflection is served.
func (s *Server) listen(o Options) (creds credentials.TransportCredentials, reflect bool, err error) {
	path, isUnix, err := socketPath(o.Address)
	switch {
	case err != nil:
		return nil, false, err
	case !isUnix:
		return s.listenOnTCP(o)
	case o.TCP != TCP{}:
		return nil, false, fmt.Errorf("%s: certificates, tokens and the like are for TCP: a Unix socket has a mode, an owner and a group", o.Address)
	}
	s.address = "unix://" + path
	s.listener, err = listenUnix(path, o.Socket)
	return unixCredentials{}, true, err
}

func (s *Server) listenOnTCP(o Options) (creds credentials.TransportCredentials, reflect bool, err error) {
	l, err := listenTCP(o.Address, o.TCP, s.log)
	if err != nil {
		return nil, false, err
	}
	s.listener, s.address, s.token, s.certificate = l.listener, l.listener.Addr().String(), l.token, l.certificate
	s.mutual = o.TCP.ClientCAFile != ""
	return l.credentials, o.TCP.Reflection, nil
}

// transport is how gRPC treats connections.
func (s *Server) transport(creds credentials.TransportCredentials) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.ConnectionTimeout(10 * time.Second), // TLS and the HTTP/2 preface
		grpc.MaxConcurrentStreams(s.meter.limits.CallsPerConnection),
		grpc.MaxRecvMsgSize(s.meter.limits.MessageBytes),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ReadBufferSize(64 << 10),
		grpc.WriteBufferSize(64 << 10),
		// A call goes many frames deep, so a goroutine of its own would spend a fifth of the call on growing its stack. Calls beyond
		// these, and streams that stay, get one of their own all the same.
		grpc.NumStreamWorkers(streamWorkers),
		// A client that watches events for days may ping to see that we live, also between calls.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // once Run has returned nothing calls Devices any more
	}
	if _, isUnix := creds.(unixCredentials); !isUnix {
		// Over a network a caller can vanish without a farewell. A process on this machine cannot, and one that a debugger
		// has stopped must not be cut off.
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}))
	}
	return options
}

// Address is where the server listens: "unix:///PATH", or "HOST:PORT" with the port that it got.
func (s *Server) Address() string { return s.address }

// Run serves until ctx ends, and then stops in good order: health turns to NOT_SERVING, readers of events are told that the
// sidecar is stopping, calls under way may finish, and what has not after DrainTimeout is cut off. When it returns, no call is
// under way any more. The error is nil unless the server could not go on.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.listener) }()
	select {
	case err := <-served: // the listener has failed
		s.stop()
		s.events.CloseReaders()
		s.grpc.Stop()
		return errors.Join(fmt.Errorf("%s: %w", s.address, err), s.listener.Close())
	case <-ctx.Done():
	}
	s.stop()
	s.events.CloseReaders()
	cut := time.AfterFunc(s.drain, func() {
		s.log.Warn("calls that did not finish in time are cut off", "address", s.address, "after", s.drain)
		s.grpc.Stop()
	})
	s.grpc.GracefulStop()
	cut.Stop()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) { // as when ctx had ended before the first connection
		return err
	}
	return nil
}

// Close gives up the address of a server that was not run. After Run it does nothing.
func (s *Server) Close() error {
	s.stop()
	s.grpc.Stop()
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
