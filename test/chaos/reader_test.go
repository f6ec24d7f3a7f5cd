package chaos

import (
	"fmt"
	"strings"
	"testing"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestAReaderThatStopsHoldsUpNobody(t *testing.T) {
	c := newCalm(t)
	subscribe := func(waiting uint32) pb.MessagingService_SubscribeClient {
		stream, err := c.messages.Subscribe(harness.Within(t), &pb.SubscribeRequest{Filters: []string{downTopic}, MaxWaiting: waiting})
		must(t, err)
		first, err := stream.Recv()
		must(t, err)
		if !first.Granted {
			t.Fatalf("first came %v", first)
		}
		return stream
	}
	const all, small = 2000, 10
	stopped, reads := subscribe(small), subscribe(2*all)
	filling := strings.Repeat("x", 2000) // what all waiting places and buffers on the way hold is far less than all of it
	sent := make(chan error, 1)
	go func() {
		for i := range all {
			if _, err := c.platform.Console.PublishDownstream(harness.Within(t), &sandboxv1.PublishDownstreamRequest{
				Device: harness.ConsoleDevice("dev-001"), Topic: downTopic, Payload: fmt.Appendf(nil, "%d %s", i, filling), Qos: 1,
			}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	number := func(m *pb.IncomingMessage) (n int) {
		_, err := fmt.Sscan(string(m.Payload), &n)
		must(t, err)
		return n
	}
	for next := 0; next < all; {
		r, err := reads.Recv()
		must(t, err)
		if r.Missed > 0 {
			t.Fatalf("the one that reads missed %d", r.Missed)
		}
		for _, m := range r.Messages {
			if number(m) != next {
				t.Fatalf("instead of %d came %d", next, number(m))
			}
			next++
		}
	}
	must(t, <-sent)
	if r, err := c.messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: upTopic}}); err != nil {
		t.Errorf("Publish: %v, %v", r, err)
	}
	got, missed, last := 0, uint64(0), -1
	for last < all-1 {
		r, err := stopped.Recv()
		must(t, err)
		missed += r.Missed
		for _, m := range r.Messages {
			if number(m) <= last {
				t.Errorf("%d came behind %d", number(m), last)
			}
			got, last = got+1, number(m)
		}
	}
	if missed == 0 || uint64(got)+missed != all {
		t.Errorf("the one that had stopped got %d and was told of %d missed, of %d", got, missed, all)
	}
}
