package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func dev(name string) device.ID { return device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: name} }

func named(id device.ID) *pb.Device {
	return &pb.Device{ProductKey: id.ProductKey, DeviceName: id.DeviceName}
}

var (
	dev1 = dev("dev-001")
	dev2 = dev("dev-002")
)

// fakeDevices are devices without a platform: what is asked for comes true at once, and is told by events.
type fakeDevices struct {
	log *event.Log

	mu       sync.Mutex
	statuses map[device.ID]event.Status
	connects []conn.ConnectRequest
	callers  []Caller
	connect  func(context.Context, conn.ConnectRequest) error // before Connect does anything
	register func(conn.RegisterRequest) (credential.Credential, error)
}

func newFakeDevices(log *event.Log) *fakeDevices {
	return &fakeDevices{log: log, statuses: map[device.ID]event.Status{}}
}

// become makes a device known in a state, and tells of it.
func (f *fakeDevices) become(id device.ID, state event.State, body event.Body) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses[id] = event.Status{Device: id, State: state, StateTime: time.Now(), Wanted: state != event.Idle}
	f.log.Publish(body, f.statuses[id])
}

func (f *fakeDevices) Resolve(id device.ID) (device.ID, error) {
	if !id.IsZero() {
		return id, id.Validate()
	}
	all := f.Devices()
	if len(all) != 1 {
		return device.ID{}, conn.ErrAmbiguousDevice
	}
	return all[0].Device, nil
}

func (f *fakeDevices) Connect(ctx context.Context, r conn.ConnectRequest) (event.Status, error) {
	f.mu.Lock()
	f.connects, f.callers = append(f.connects, r), append(f.callers, CallerFrom(ctx))
	before := f.connect
	f.mu.Unlock()
	if err := r.Settings.Validate(r.Device); err != nil {
		return event.Status{}, err
	}
	if before != nil {
		if err := before(ctx, r); err != nil {
			return event.Status{}, err
		}
	}
	f.become(r.Device, event.Online, event.WentOnline{ConnackTime: time.Now(), Attempt: 1})
	return f.Device(r.Device)
}

func (f *fakeDevices) Disconnect(_ context.Context, id device.ID) (event.Status, error) {
	if _, err := f.Device(id); err != nil {
		return event.Status{}, err
	}
	f.become(id, event.Idle, event.Disconnected{Cause: event.CauseRequested})
	return f.Device(id)
}

func (f *fakeDevices) Register(_ context.Context, r conn.RegisterRequest) (credential.Credential, error) {
	c, err := f.register(r)
	if err == nil {
		f.become(r.Registration.ID, event.Idle, event.Registered{Method: r.Registration.Method.String()})
	}
	return c, err
}

func (f *fakeDevices) Forget(_ context.Context, id device.ID, force bool) error {
	s, err := f.Device(id)
	switch {
	case err != nil:
		return err
	case s.Wanted && !force:
		return conn.ErrStillConnected
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.statuses, id)
	f.log.Publish(event.Forgotten{}, event.Status{Device: id})
	return nil
}

func (f *fakeDevices) Device(id device.ID) (event.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, known := f.statuses[id]
	if !known {
		return event.Status{}, conn.ErrUnknownDevice
	}
	return s, nil
}

func (f *fakeDevices) Devices() []event.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []event.Status
	for _, s := range f.statuses {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b event.Status) int { return strings.Compare(a.Device.String(), b.Device.String()) })
	return all
}

// world is a running server with what is behind it.
type world struct {
	t       *testing.T
	server  *Server
	devices *fakeDevices
	log     *event.Log
	stop    func() error // stops the server and waits for it
}

// newLog makes a log with a real journal; it runs until the test ends.
func newLog(t *testing.T, options ...store.Option) *event.Log {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "state"), quiet, options...)
	if err != nil {
		t.Fatal(err)
	}
	log, err := event.New(db, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { log.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = db.Close()
	})
	return log
}

// serve runs a server on a socket of the test's own, unless change names another address.
func serve(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	return serveLog(t, newLog(t), change...)
}

func serveLog(t *testing.T, log *event.Log, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, log: log, devices: newFakeDevices(log)}
	o := Options{Address: "unix://" + filepath.Join(t.TempDir(), "s.sock"), Devices: w.devices, Events: log, Log: quiet}
	for _, c := range change {
		c(&o)
	}
	var err error
	if w.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// dial opens a connection of its own. Without options it is one without TLS.
func (w *world) dial(options ...grpc.DialOption) *grpc.ClientConn {
	w.t.Helper()
	if len(options) == 0 {
		options = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	c, err := grpc.NewClient(w.server.Address(), options...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) client(options ...grpc.DialOption) pb.ConnectivityServiceClient {
	w.t.Helper()
	return pb.NewConnectivityServiceClient(w.dial(options...))
}

func (w *world) health() grpc_health_v1.HealthClient {
	w.t.Helper()
	return grpc_health_v1.NewHealthClient(w.dial())
}

// refusal takes an error of a call apart.
type refusal struct {
	code     codes.Code
	reason   string
	message  string
	metadata map[string]string
	retry    time.Duration
	fields   map[string]string // descriptions by field
}

func refusalOf(t *testing.T, err error) refusal {
	t.Helper()
	s, ok := status.FromError(err)
	if err == nil || !ok {
		t.Fatalf("%v is no status", err)
	}
	r := refusal{code: s.Code(), message: s.Message(), fields: map[string]string{}}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() != "linkkit-sidecar" {
				t.Errorf("domain %q", d.GetDomain())
			}
			r.reason, r.metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.RetryInfo:
			r.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				r.fields[f.GetField()] = f.GetDescription()
			}
		default:
			t.Errorf("an answer has a %T", d)
		}
	}
	return r
}

// refused fails the test unless err has the code and the reason.
func refused(t *testing.T, err error, code codes.Code, reason string) refusal {
	t.Helper()
	r := refusalOf(t, err)
	if r.code != code || r.reason != reason {
		t.Fatalf("%v with reason %q, want %v with %q: %s", r.code, r.reason, code, reason, r.message)
	}
	return r
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came about that %s", what)
		}
	}
}

// logBuffer is a log to look into.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// trailerReason is the reason as clients without the details library see it.
func trailerReason(trailer metadata.MD) string {
	return strings.Join(trailer.Get("linkkit-reason"), ",")
}

var errOdd = errors.New("something that nobody has foreseen, with hunter2 in it")
