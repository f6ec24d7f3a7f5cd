package server

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestCallsUnderWayFinishWhenTheSidecarStops(t *testing.T) {
	w := serve(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.devices.connect = func(context.Context, conn.ConnectRequest) error {
		close(arrived)
		<-release
		return nil
	}
	c := w.client()
	outcome := make(chan error, 1)
	go func() {
		_, err := c.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)})
		outcome <- err
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	<-w.server.stopping
	select {
	case err := <-stopped:
		t.Fatalf("Run returned (%v) while a call was under way", err)
	case err := <-outcome:
		t.Fatalf("the call was cut off: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestCallsThatDoNotFinishAreCutOff(t *testing.T) {
	w := serve(t, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.devices.connect = func(ctx context.Context, _ conn.ConnectRequest) error {
		close(arrived)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}
	c := w.client()
	outcome := make(chan error, 1)
	go func() {
		_, err := c.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)})
		outcome <- err
	}()
	<-arrived
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	default:
		t.Error("Run returned while a call was under way")
	}
	if err := <-outcome; refusalOf(t, err).code != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestHealthTurnsWhileCallsFinish(t *testing.T) {
	w := serve(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.devices.connect = func(context.Context, conn.ConnectRequest) error {
		close(arrived)
		<-release
		return nil
	}
	next, _ := watch(t, w, "")
	next(serving)
	var call sync.WaitGroup
	c := w.client()
	call.Go(func() { _, _ = c.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}) })
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	next(notServing)
	h := &health{devices: w.devices, stopping: w.server.stopping}
	if got, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || got.GetStatus() != notServing {
		t.Errorf("%v, %v", got, err)
	}
	close(release)
	call.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestTheSocketIsGoneWhenTheServerHasStopped(t *testing.T) {
	w := serve(t)
	path := strings.TrimPrefix(w.server.Address(), "unix://")
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if err := errors.Join(w.stop(), w.server.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestAServerThatIsToldToStopBeforeItStartsStops(t *testing.T) {
	log := newLog(t)
	for range 20 {
		s, err := New(Options{Address: "unix://" + filepath.Join(socketDir(t), "s.sock"), Devices: newFakeDevices(log), Events: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(strings.TrimPrefix(s.Address(), "unix://")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v", err)
		}
	}
}

func TestAServerWhoseListenerFailsSaysSo(t *testing.T) {
	log := newLog(t)
	s, err := New(Options{Address: "127.0.0.1:0", TCP: TCP{Insecure: true}, Devices: newFakeDevices(log), Events: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("%v", err)
	}
}

func TestTheAddressOfTCPHasThePortThatItGot(t *testing.T) {
	w := serve(t, func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", TCP{Insecure: true} })
	host, port, err := net.SplitHostPort(w.server.Address())
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("%s, %v", w.server.Address(), err)
	}
}

func TestWhatAnAppDoesWithADevice(t *testing.T) {
	w, ctx := serve(t), t.Context()
	c := w.client()
	_, err := c.GetDevice(ctx, &pb.GetDeviceRequest{})
	refused(t, err, codes.InvalidArgument, "DEVICE_AMBIGUOUS")
	_, err = c.GetDevice(ctx, &pb.GetDeviceRequest{Device: named(dev1)})
	if r := refused(t, err, codes.NotFound, "DEVICE_UNKNOWN"); r.metadata["device"] != dev1.String() {
		t.Errorf("%+v", r)
	}
	if got, err := c.Connect(ctx, &pb.ConnectRequest{Device: named(dev1)}); err != nil || got.GetStatus().GetState() != pb.LinkState_LINK_STATE_ONLINE {
		t.Errorf("%v, %v", got, err)
	}
	// From now on it need not be named.
	if got, err := c.GetDevice(ctx, &pb.GetDeviceRequest{}); err != nil || got.GetStatus().GetDevice().GetDeviceName() != "dev-001" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: named(dev1)})
	refused(t, err, codes.FailedPrecondition, "STILL_CONNECTED")
	if got, err := c.Disconnect(ctx, &pb.DisconnectRequest{}); err != nil || got.GetStatus().GetState() != pb.LinkState_LINK_STATE_IDLE {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: named(dev1)}); err != nil {
		t.Error(err)
	}
}

// The real Set, without a platform: nobody listens where it is sent.
func TestWithTheRealDevices(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	db, err := store.Open(state, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	credentials, err := credential.Open(state, credential.Options{})
	if err != nil {
		t.Fatal(err)
	}
	secret := credential.Credential{Kind: credential.DeviceSecret, Secret: device.NewSecret("0123456789abcdef0123456789abcdef"), Source: "connect"}
	if err := credentials.Put(dev1, secret); err != nil {
		t.Fatal(err)
	}
	log, err := event.New(db, quiet)
	if err != nil {
		t.Fatal(err)
	}
	set, err := conn.NewSet(conn.Options{Credentials: credentials, Desired: db, Events: log, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { log.Run(ctx) })
	running.Go(func() { _ = set.Run(ctx) })
	defer func() {
		cancel()
		running.Wait()
	}()
	w := serveLog(t, log, func(o *Options) { o.Devices = set })
	defer w.stop()
	c := w.client()

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint32(nobody.Addr().(*net.TCPAddr).Port)
	_ = nobody.Close()

	events := follow(t, c, &pb.EventsRequest{})
	events.next()
	_, err = c.Connect(ctx, &pb.ConnectRequest{Device: named(dev2)})
	refused(t, err, codes.FailedPrecondition, "NO_CREDENTIAL")
	request := &pb.ConnectRequest{Endpoint: &pb.Endpoint{Host: "localhost", Port: port}, DialAddress: "127.0.0.1"}
	_, err = c.Connect(ctx, request)
	if r := refused(t, err, codes.Unavailable, "DIAL_REFUSED"); r.retry <= 0 || r.metadata["cause"] != "DIAL_REFUSED" || r.metadata["next_attempt_time"] == "" {
		t.Errorf("%+v", r)
	}
	for {
		e := events.next()
		if failed := e.GetAttemptFailed(); failed != nil {
			if failed.GetCause() != pb.Cause_CAUSE_DIAL_REFUSED {
				t.Errorf("%v", failed)
			}
			break
		}
	}
	request.Mqtt = &pb.MqttSettings{MaxInflight: 1}
	_, err = c.Connect(ctx, request)
	refused(t, err, codes.FailedPrecondition, "SETTINGS_CONFLICT")
	_, err = c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: named(dev1)})
	refused(t, err, codes.FailedPrecondition, "STILL_CONNECTED")
	if _, err := c.Disconnect(ctx, &pb.DisconnectRequest{}); err != nil {
		t.Error(err)
	}
	if got, err := c.GetDevice(ctx, &pb.GetDeviceRequest{}); err != nil || got.GetStatus().GetState() != pb.LinkState_LINK_STATE_IDLE {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: named(dev1)}); err != nil {
		t.Error(err)
	}
	_, err = c.Register(ctx, &pb.RegisterRequest{
		Device: named(dev2), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: "p",
		Endpoint: &pb.Endpoint{Host: "localhost", Port: port}, DialAddress: "127.0.0.1",
	})
	refused(t, err, codes.Unavailable, "DIAL_REFUSED")
	_, err = c.Register(ctx, &pb.RegisterRequest{
		Device: named(dev2), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: "p", Tls: &pb.TlsSettings{PlainTcp: true},
	})
	if r := refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); r.fields["tls.plain_tcp"] == "" {
		t.Errorf("%+v", r)
	}
}
