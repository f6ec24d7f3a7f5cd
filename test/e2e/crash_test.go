package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// TestAKilledSidecarComesBack kills a sidecar that has a device online and starts another: the device comes back by itself, and the
// cursor of an app that was away still means what it meant.
func TestAKilledSidecarComesBack(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	s := harness.StartSidecar(t, p, "")
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	}); err != nil {
		t.Fatal(err)
	}
	cursor := s.Follow(&pb.EventsRequest{}).Await("the snapshot", func(e *pb.EventsResponse) bool { return e.GetSnapshot() != nil }).Cursor
	s.Kill()

	s = harness.StartSidecar(t, p, s.Dir)
	told := s.Follow(&pb.EventsRequest{After: cursor})
	online := told.Await("the device's return", func(e *pb.EventsResponse) bool { return e.GetOnline() != nil })
	if online.Cursor.Epoch != cursor.Epoch || online.Cursor.Sequence <= cursor.Sequence {
		t.Errorf("cursor %v after %v", online.Cursor, cursor)
	}
	events, _ := told.All()
	for _, e := range events {
		if e.GetEventsLost() != nil {
			t.Errorf("a gap: %v", e)
		}
	}
}

// TestAKillAtAnyPointOfARegistration kills the sidecar at one system call after another of a registration: each time the
// credential is stored, or the registration can be repeated, and the device comes online with what is stored.
func TestAKillAtAnyPointOfARegistration(t *testing.T) {
	const most = 60 // of each call; a registration has fewer
	calls := []string{"openat", "write", "read", "fsync", "renameat", "unlinkat", "close"}
	p := harness.StartPlatform(t, len(calls)*most)
	var devices int
	var mu sync.Mutex
	next := func() *pb.Device {
		mu.Lock()
		defer mu.Unlock()
		devices++
		return harness.Device(fmt.Sprintf("dev-%03d", devices+1))
	}
	for _, call := range calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n <= most; n++ {
				d := next()
				dir := killedRegistration(t, p, d, call, n)
				if dir == "" {
					t.Logf("killed at %d calls of %s", killed, call)
					return
				}
				killed++
				afterwards(t, p, d, dir)
			}
			t.Errorf("a registration makes more than %d calls of %s", most, call)
		})
	}
}

// killedRegistration registers d with a sidecar that is killed when it enters its n-th system call of one kind. It returns the
// sidecar's directory, or nothing when the registration came to its end first.
func killedRegistration(t *testing.T, p *harness.Platform, d *pb.Device, call string, n int) string {
	t.Helper()
	s := harness.StartSidecar(t, p, "")
	// The trace takes the calls of each thread by itself; a registration changes threads seldom enough.
	tracer := harness.Begin(t, exec.Command("strace", "-f", "-p", strconv.Itoa(s.Process.Pid), "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n)))
	harness.Eventually(t, "the tracer", func() bool { return strings.Contains(tracer.Log(), "attached") })
	_, err := s.Devices.Register(harness.Within(t), &pb.RegisterRequest{
		Device: d, Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: harness.ProductSecret, Endpoint: p.Endpoint(),
	})
	if err == nil {
		s.Kill()
		return ""
	}
	if code := status.Code(err); code != codes.Unavailable {
		t.Fatalf("Register: %v", err)
	}
	<-s.Exited
	return s.Dir
}

// afterwards starts a sidecar where another was killed, and brings the device online.
func afterwards(t *testing.T, p *harness.Platform, d *pb.Device, dir string) {
	t.Helper()
	s := harness.StartSidecar(t, p, dir)
	defer s.Kill()
	register := &pb.RegisterRequest{
		Device: d, Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: harness.ProductSecret, Endpoint: p.Endpoint(),
	}
	known, err := s.Devices.GetDevice(harness.Within(t), &pb.GetDeviceRequest{Device: d})
	if err != nil || known.Status.Credential == nil {
		if _, err := s.Devices.Register(harness.Within(t), register); err != nil {
			t.Fatalf("after a kill nothing is stored, and registering again fails: %v", err)
		}
	}
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{Device: d, Endpoint: p.Endpoint()}); err != nil {
		t.Errorf("after a kill the device does not come online: %v", err)
	}
}
