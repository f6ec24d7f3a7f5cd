package e2e

import (
	"strings"
	"syscall"
	"testing"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestSignalsChangeTheLogsLevel(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	s := harness.StartSidecar(t, p, "", "--log-level", "warn", "--log-format", "json")
	list := func() {
		if _, err := s.Devices.ListDevices(harness.Within(t), &pb.ListDevicesRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	calls := func() int { return strings.Count(s.Log(), `"grpc.method":"ListDevices"`) }
	signal := func(which syscall.Signal, to string) {
		if err := s.Process.Signal(which); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the change to "+to, func() bool {
			lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
			return strings.Contains(lines[len(lines)-1], `"to":"`+to+`"`)
		})
	}
	list()
	if got := s.Log(); got != "" {
		t.Fatalf("with --log-level warn it says %s", got)
	}
	signal(syscall.SIGUSR1, "DEBUG")
	list()
	harness.Eventually(t, "the line of a call", func() bool { return calls() == 1 })
	signal(syscall.SIGUSR2, "WARN")
	list()
	signal(syscall.SIGUSR1, "DEBUG") // what was to come has come
	if n := calls(); n != 1 {
		t.Errorf("%d calls were logged, want 1", n)
	}
	if code := s.Terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestWhatHappensToADeviceIsInTheLogOnce follows a device through a refusal, a login and a loss.
func TestWhatHappensToADeviceIsInTheLogOnce(t *testing.T) {
	p := harness.StartPlatform(t, 0, "--device-logins-per-minute", "-1")
	s := harness.StartSidecar(t, p, "", "--connects-per-minute", "0", "--log-format", "json")
	connect := func(secret string) error {
		_, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{
			Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret},
		})
		return err
	}
	if err := connect(strings.Repeat("f", 32)); err == nil {
		t.Fatal("a wrong secret was taken")
	}
	if err := connect(harness.DeviceSecret); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil {
		t.Fatal(err)
	}
	if code := s.Terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	log := s.Log()
	for _, what := range []string{"the platform refused the login", "online", "disconnected"} {
		if n := strings.Count(log, `"msg":"`+what+`","device":"`+harness.ProductKey+`/dev-001","attempt":`); n != 1 {
			t.Errorf("%d lines say %q, want 1:\n%s", n, what, log)
		}
	}
	if strings.Contains(log, harness.DeviceSecret) {
		t.Error("the log tells the secret")
	}
}
