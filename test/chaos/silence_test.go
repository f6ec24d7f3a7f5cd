package chaos

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// calm is a sidecar with dev-001 online, to which nothing is done yet.
type calm struct {
	t        *testing.T
	platform *harness.Platform
	sidecar  *harness.Sidecar
	messages pb.MessagingServiceClient
}

// newCalm starts one. set is done to the platform before the device comes.
func newCalm(t *testing.T, set ...*sandboxv1.Fault) *calm {
	t.Helper()
	c := &calm{t: t, platform: harness.StartPlatform(t, 0, "--device-logins-per-minute", "-1", "--keep-messages", "100000")}
	for _, f := range set {
		_, err := c.platform.Console.SetFault(harness.Within(t), &sandboxv1.SetFaultRequest{Fault: f})
		must(t, err)
	}
	c.sidecar = harness.StartSidecar(t, c.platform, "", "--drain-timeout", "1")
	c.connect()
	return c
}

func (c *calm) connect() {
	c.t.Helper()
	c.messages = pb.NewMessagingServiceClient(harness.Dial(c.t, c.sidecar.Ready["address"]))
	_, err := c.sidecar.Devices.Connect(harness.Within(c.t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: c.platform.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	})
	must(c.t, err)
}

// arrivals counts how often the platform got each payload.
func (c *calm) arrivals() map[string]int {
	c.t.Helper()
	times := map[string]int{}
	for after, more := uint64(0), true; more; {
		all, err := c.platform.Console.ListMessages(harness.Within(c.t), &sandboxv1.ListMessagesRequest{
			Device: harness.ConsoleDevice("dev-001"), AfterNumber: after,
		})
		must(c.t, err)
		for _, m := range all.Messages {
			times[string(m.Payload)]++
			after = m.Number
		}
		more = all.More
	}
	return times
}

func (c *calm) status() *pb.DeviceStatus {
	c.t.Helper()
	got, err := c.sidecar.Devices.GetDevice(harness.Within(c.t), &pb.GetDeviceRequest{})
	must(c.t, err)
	return got.GetStatus()
}

func TestAPlatformThatNeverAcknowledgesLosesNothing(t *testing.T) {
	c := newCalm(t, &sandboxv1.Fault{Effect: &sandboxv1.Fault_SwallowPuback{SwallowPuback: true}})
	const stored = 100 // more than may be under way
	for i := range stored {
		r, err := c.messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{
			Topic: upTopic, Payload: fmt.Append(nil, "stored ", i), Assurance: pb.Assurance_ASSURANCE_STORED,
		}})
		if err != nil || r.Outcome != pb.Outcome_OUTCOME_STORED {
			t.Fatalf("Publish: %v, %v", r, err)
		}
	}
	harness.Eventually(t, "a full window", func() bool { return c.status().GetQueue().GetInFlight() == 20 })
	confirmed := make(chan error, 1)
	go func() {
		_, err := c.messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: upTopic, Payload: []byte("confirmed")}})
		confirmed <- err
	}()
	harness.Eventually(t, "one that waits behind it", func() bool { return c.status().GetQueue().GetWaiting() == 1 })
	if code := c.sidecar.Terminate(); code != 0 { // with all of it under way
		t.Errorf("it ended with %d", code)
	}
	if err := <-confirmed; status.Code(err) != codes.Unavailable {
		t.Errorf("the one that waited: %v", err)
	}
	_, err := c.platform.Console.ClearFaults(harness.Within(t), &sandboxv1.ClearFaultsRequest{})
	must(t, err)
	c.sidecar = harness.StartSidecar(t, c.platform, c.sidecar.Dir)
	harness.Eventually(t, "an empty outbox", func() bool {
		s := c.status()
		return s.GetState() == pb.LinkState_LINK_STATE_ONLINE && s.GetQueue().GetStoredMessages() == 0
	})
	times := c.arrivals()
	for i := range stored {
		want := 1
		if i < 20 {
			want = 2 // it was under way on both links
		}
		if got := times[fmt.Sprint("stored ", i)]; got != want {
			t.Errorf("message %d came %d times, want %d", i, got, want)
		}
	}
	if times["confirmed"] != 0 {
		t.Errorf("what was said not to be sent came %d times", times["confirmed"])
	}
}
