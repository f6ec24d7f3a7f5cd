package e2e

import (
	"testing"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// TestTwoSidecarsWithOneIdentitySettle lets two sidecars fight for one device. Neither they nor the platform limit logins, so that
// nothing but the suspicion itself calms them.
func TestTwoSidecarsWithOneIdentitySettle(t *testing.T) {
	t.Parallel() // it waits for minutes of real time
	p := harness.StartPlatform(t, 0, "--device-logins-per-minute", "-1")
	var told []*harness.Story
	for range 2 {
		s := harness.StartSidecar(t, p, "", "--connects-per-minute", "0")
		told = append(told, s.Follow(&pb.EventsRequest{}))
		if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{
			Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
		}); err != nil {
			t.Fatal(err)
		}
	}
	suspected := func(s *harness.Story) bool {
		events, _ := s.All()
		for _, e := range events {
			if e.GetTakeoverSuspected() != nil {
				return true
			}
		}
		return false
	}
	harness.Eventually(t, "the first suspicion", func() bool { return suspected(told[0]) || suspected(told[1]) })
	begin := time.Now()
	time.Sleep(time.Minute)
	logins, err := p.Console.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{Device: harness.ConsoleDevice("dev-001")})
	if err != nil {
		t.Fatal(err)
	}
	before, after := 0, 0
	for _, l := range logins.Logins {
		if l.ReceiveTime.AsTime().Before(begin) {
			before++
		} else {
			after++
		}
	}
	t.Logf("%d logins until the first suspicion, %d in the minute after it", before, after)
	if after >= 10 {
		t.Error("they go on fighting")
	}
	for deadline := time.Now().Add(3 * time.Minute); !suspected(told[0]) || !suspected(told[1]); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("one of them has not said why")
		}
	}
}
