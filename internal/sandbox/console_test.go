package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// dial is a gRPC connection to the console of a running sandbox.
func (s sandbox) dial() *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient(s.Addresses().Control, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

func controlSocket(t *testing.T) func(*Options) {
	t.Helper()
	path := "unix://" + filepath.Join(t.TempDir(), "control.sock")
	return func(o *Options) { o.ControlAddress = path }
}

func TestTheConsoleIsReachedOverAUnixSocket(t *testing.T) {
	s := start(t, controlSocket(t))
	conn := s.dial()
	info, err := os.Stat(strings.TrimPrefix(s.Addresses().Control, unixPrefix))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	client := sandboxv1.NewSandboxServiceClient(conn)
	c := s.login(dev001, deviceSecret)
	if r, err := client.KickDevice(t.Context(), &sandboxv1.KickDeviceRequest{Device: toDevice(dev001)}); err != nil || !r.GetWasOnline() {
		t.Errorf("kicked: %v, %v", r, err)
	}
	c.wantEOF()

	health := grpc_health_v1.NewHealthClient(conn)
	for _, name := range []string{"", sandboxv1.SandboxService_ServiceDesc.ServiceName} {
		if r, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("the health of %q: %v, %v", name, r, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	if r, err := stream.Recv(); err != nil || !strings.Contains(r.String(), "linkkit_sidecar.sandbox.v1.SandboxService") {
		t.Errorf("reflection: %v, %v", r, err)
	}
}

func TestTheSandboxStopsWhileItsHealthIsWatched(t *testing.T) {
	s := start(t, controlSocket(t))
	stream, err := grpc_health_v1.NewHealthClient(s.dial()).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	// start's clean-up stops the sandbox before it closes this client, and waits for it.
}

func TestTheConsoleIsForThisMachineAlone(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "unix:relative.sock", "unix://relative.sock", "nonsense"} {
		s, err := New(Options{StateDir: stateDir, ControlAddress: address})
		if err == nil {
			t.Errorf("%s was taken: %+v", address, s.Addresses())
			s.Close()
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %q", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		s := start(t, func(o *Options) { o.ControlAddress = address })
		if _, err := sandboxv1.NewSandboxServiceClient(s.dial()).ListFaults(t.Context(), &sandboxv1.ListFaultsRequest{}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestASocketThatWasLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	o := Options{StateDir: stateDir, ControlAddress: "unix://" + path}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in its place: %v", err)
	}
	os.Remove(path)

	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("somebody listens: %v", err)
	}
	left.Close()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	o.ControlAddress += strings.Repeat("x", maxSocketPath)
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "107 bytes") {
		t.Errorf("a long path: %v", err)
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for what, o := range map[string]Options{
		"for MQTT on":          {MQTTAddress: l.Addr().String()},
		"for MQTT over TLS on": {MQTTSAddress: l.Addr().String()},
		"for HTTPS on":         {HTTPSAddress: l.Addr().String(), MQTTAddress: "127.0.0.1:0"},
		"for control on":       {ControlAddress: l.Addr().String()},
	} {
		o.StateDir = stateDir
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), what+" "+l.Addr().String()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMakesProductsAndDevices(t *testing.T) {
	s := start(t, func(o *Options) { o.Fixture = Fixture{} })
	ctx := t.Context()
	p, err := s.CreateProduct(ctx, &sandboxv1.CreateProductRequest{DynamicRegistration: true})
	if err != nil || len(p.GetProductKey()) != 11 || len(p.GetProductSecret()) != 16 {
		t.Fatalf("%v, %v", p, err)
	}
	given, err := s.CreateProduct(ctx, &sandboxv1.CreateProductRequest{ProductKey: productKey, ProductSecret: productSecret})
	if err != nil || given.GetProductKey() != productKey || given.GetProductSecret() != productSecret {
		t.Fatalf("%v, %v", given, err)
	}
	made, err := s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: toDevice(dev001), GenerateSecret: true})
	if err != nil || len(made.GetDeviceSecret()) != 32 || idOf(made.GetDevice()) != dev001 {
		t.Fatalf("%v, %v", made, err)
	}
	none, err := s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: toDevice(dev002)})
	if err != nil || none.GetDeviceSecret() != "" {
		t.Fatalf("%v, %v", none, err)
	}
	own, err := s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: &sandboxv1.Device{ProductKey: p.GetProductKey(), DeviceName: "d"}, DeviceSecret: "own"})
	if err != nil || own.GetDeviceSecret() != "own" {
		t.Fatalf("%v, %v", own, err)
	}
	s.login(dev001, made.GetDeviceSecret()).ping()

	all, err := s.ListDevices(ctx, &sandboxv1.ListDevicesRequest{ProductKey: productKey})
	if err != nil || len(all.GetDevices()) != 2 || idOf(all.GetDevices()[0].GetDevice()) != dev001 || idOf(all.GetDevices()[1].GetDevice()) != dev002 {
		t.Errorf("listed: %v, %v", all, err)
	}
	if d := all.GetDevices()[0]; d.GetDeviceSecret() != "" || !d.GetHasSecret() || all.GetDevices()[1].GetHasSecret() {
		t.Errorf("listed: %v", all)
	}
	if all, err := s.ListDevices(ctx, &sandboxv1.ListDevicesRequest{}); err != nil || len(all.GetDevices()) != 3 {
		t.Errorf("listed: %v, %v", all, err)
	}
}

func TestTheConsoleTellsWhatIsWrong(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	absent := &sandboxv1.Device{ProductKey: productKey, DeviceName: "dev-009"}
	long := strings.Repeat("x", 65)
	call := func(_ any, err error) error { return err }
	publish := func(topic string, payload int, qos uint32) error {
		return call(s.PublishDownstream(ctx, &sandboxv1.PublishDownstreamRequest{
			Device: toDevice(dev001), Topic: topic, Payload: make([]byte, payload), Qos: qos,
		}))
	}
	for _, c := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"a product that exists", call(s.CreateProduct(ctx, &sandboxv1.CreateProductRequest{ProductKey: productKey})), codes.AlreadyExists},
		{"a bad product key", call(s.CreateProduct(ctx, &sandboxv1.CreateProductRequest{ProductKey: "a b"})), codes.InvalidArgument},
		{"a long product secret", call(s.CreateProduct(ctx, &sandboxv1.CreateProductRequest{ProductSecret: long})), codes.InvalidArgument},
		{"a device that exists", call(s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: toDevice(dev001)})), codes.AlreadyExists},
		{"a device of no product", call(s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: &sandboxv1.Device{ProductKey: "none", DeviceName: "d"}})), codes.NotFound},
		{"no device", call(s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{})), codes.InvalidArgument},
		{"a long device secret", call(s.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{Device: absent, DeviceSecret: long})), codes.InvalidArgument},
		{"devices of no product", call(s.ListDevices(ctx, &sandboxv1.ListDevicesRequest{ProductKey: "none"})), codes.NotFound},
		{"kick nobody", call(s.KickDevice(ctx, &sandboxv1.KickDeviceRequest{})), codes.InvalidArgument},
		{"kick", call(s.KickDevice(ctx, &sandboxv1.KickDeviceRequest{Device: absent})), codes.NotFound},
		{"disable", call(s.DisableDevice(ctx, &sandboxv1.DisableDeviceRequest{Device: absent})), codes.NotFound},
		{"enable", call(s.EnableDevice(ctx, &sandboxv1.EnableDeviceRequest{Device: absent})), codes.NotFound},
		{"delete", call(s.DeleteDevice(ctx, &sandboxv1.DeleteDeviceRequest{Device: absent})), codes.NotFound},
		{"reset", call(s.ResetDevice(ctx, &sandboxv1.ResetDeviceRequest{Device: absent})), codes.NotFound},
		{"messages", call(s.ListMessages(ctx, &sandboxv1.ListMessagesRequest{Device: absent})), codes.NotFound},
		{"logins of nobody", call(s.ListLogins(ctx, &sandboxv1.ListLoginsRequest{Device: &sandboxv1.Device{}})), codes.InvalidArgument},
		{"clear for nobody", call(s.ClearFaults(ctx, &sandboxv1.ClearFaultsRequest{Device: &sandboxv1.Device{}})), codes.InvalidArgument},
		{"publish", call(s.PublishDownstream(ctx, &sandboxv1.PublishDownstreamRequest{Device: absent, Topic: "/x"})), codes.NotFound},
		{"publish with QoS 2", publish(topicOf(dev001, "user/get"), 0, 2), codes.InvalidArgument},
		{"publish too much", publish(topicOf(dev001, "user/get"), 256<<10+1, 0), codes.InvalidArgument},
		{"publish to a wildcard", publish(topicOf(dev001, "user/+"), 0, 0), codes.InvalidArgument},
		{"publish on a foreign topic", publish(topicOf(dev002, "user/get"), 0, 0), codes.InvalidArgument},
		{"publish on no topic", publish("", 0, 0), codes.InvalidArgument},
		{"publish on a long topic", publish(topicOf(dev001, strings.Repeat("x", 128)), 0, 0), codes.InvalidArgument},
		{"publish on a deep topic", publish(topicOf(dev001, "a/b/c/d/e/f"), 0, 0), codes.InvalidArgument},
	} {
		if status.Code(c.err) != c.want || status.Convert(c.err).Message() == "" {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
		if strings.Contains(fmt.Sprint(c.err), long) {
			t.Errorf("%s tells a secret: %v", c.name, c.err)
		}
	}
	// A device that need not exist.
	if _, err := s.ListLogins(ctx, &sandboxv1.ListLoginsRequest{Device: absent}); err != nil {
		t.Error(err)
	}
	if _, err := s.SetFault(ctx, &sandboxv1.SetFaultRequest{Fault: &sandboxv1.Fault{Device: absent, Effect: &sandboxv1.Fault_NoConnack{NoConnack: true}}}); err != nil {
		t.Error(err)
	}
	if got := s.publish(dev001, topicOf(dev001, "user/get"), "", 0); got != sandboxv1.Delivery_DELIVERY_OFFLINE {
		t.Errorf("to an offline device: %v", got)
	}
}

func TestADisabledDeviceIsSentAwayUntilItIsEnabled(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	for range 2 {
		if _, err := s.DisableDevice(t.Context(), &sandboxv1.DisableDeviceRequest{Device: toDevice(dev001)}); err != nil {
			t.Fatal(err)
		}
	}
	c.wantEOF()
	if d := s.status(dev001); d.GetOnline() || d.GetState() != sandboxv1.DeviceState_DEVICE_STATE_DISABLED || d.GetConnectionId() != 0 {
		t.Errorf("the device is %v", d)
	}
	for _, secret := range []string{deviceSecret, "wrong"} { // the state is looked at before the signature
		if code := s.plain().connect(secretLogin(dev001, secret)); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
	}
	for range 2 {
		if _, err := s.EnableDevice(t.Context(), &sandboxv1.EnableDeviceRequest{Device: toDevice(dev001)}); err != nil {
			t.Fatal(err)
		}
	}
	s.login(dev001, deviceSecret).ping()
	if d := s.status(dev001); d.GetState() != sandboxv1.DeviceState_DEVICE_STATE_ENABLED {
		t.Errorf("the device is %v", d)
	}
}

func TestADeviceDisabledInTheFixtureIsRefused(t *testing.T) {
	s := start(t, func(o *Options) { o.Fixture.Products[0].Devices[0].Disabled = true })
	if code := s.plain().connect(secretLogin(dev001, deviceSecret)); code != 5 {
		t.Errorf("CONNACK %d", code)
	}
}

func TestADeletedDeviceIsUnknown(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	if _, err := s.DeleteDevice(t.Context(), &sandboxv1.DeleteDeviceRequest{Device: toDevice(dev001)}); err != nil {
		t.Fatal(err)
	}
	c.wantEOF()
	if code := s.plain().connect(secretLogin(dev001, deviceSecret)); code != 4 {
		t.Errorf("CONNACK %d", code)
	}
	if s.status(dev001) != nil {
		t.Error("it is still listed")
	}
	if n := len(s.logins(dev001)); n != 2 {
		t.Errorf("%d logins are remembered", n)
	}
}

func TestAResetDeviceRegistersAnew(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	r := registration(dev001, 1)
	if code := s.secure().connect(fromLogin(r.Login())); code != 4 {
		t.Errorf("before: CONNACK %d", code)
	}
	if _, err := s.ResetDevice(t.Context(), &sandboxv1.ResetDeviceRequest{Device: toDevice(dev001)}); err != nil {
		t.Fatal(err)
	}
	c.wantEOF()
	if d := s.status(dev001); d.GetActivated() || d.GetHasSecret() || d.GetOnline() {
		t.Errorf("the device is %v", d)
	}
	if code := s.plain().connect(secretLogin(dev001, deviceSecret)); code != 4 {
		t.Errorf("the old secret: CONNACK %d", code)
	}
	got := s.secure().register(r)
	if got.DeviceSecret.Equal(device.NewSecret(deviceSecret)) {
		t.Error("it got the old secret again")
	}
	s.login(dev001, got.DeviceSecret.Reveal()).ping()
}

func TestKickingAnOfflineDeviceIsNoError(t *testing.T) {
	s := start(t)
	if r, err := s.KickDevice(t.Context(), &sandboxv1.KickDeviceRequest{Device: toDevice(dev001)}); err != nil || r.GetWasOnline() {
		t.Errorf("%v, %v", r, err)
	}
}

func TestRemembersTheNewestLogins(t *testing.T) {
	s := start(t)
	for i := range 2*keptLogins + 3 {
		s.cloud.recordLogin(loginRecord{id: dev001, reason: fmt.Sprint(i)})
	}
	s.plain().connect(credentials{"x", "", ""})
	got := s.logins(dev001)
	if len(got) != keptLogins || got[0].GetReason() != "203" || got[keptLogins-1].GetReason() != "402" {
		t.Errorf("%d logins, from %v to %v", len(got), got[0], got[len(got)-1])
	}
	all, err := s.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{})
	if n := len(all.GetLogins()); err != nil || n != keptLogins+1 || all.GetLogins()[n-1].GetDevice() != nil {
		t.Errorf("%d logins in all, %v", n, err)
	}
}

func TestNamesFromTheNetworkFillNoMemory(t *testing.T) {
	c := newTestCloud(t)
	for i := range maxNames + 10 {
		c.recordLogin(loginRecord{id: device.ID{ProductKey: productKey, DeviceName: fmt.Sprint(i)}})
	}
	if n := len(c.logins); n != maxNames {
		t.Errorf("logins of %d names are kept", n)
	}
}
