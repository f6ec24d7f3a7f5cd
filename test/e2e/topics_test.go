package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestThePolicyKeepsCallersToTheirTopics(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	file := filepath.Join(t.TempDir(), "sidecar.yaml")
	text := fmt.Sprintf(`policy:
  - callers: ["uid:%d"]
    operations: [read, connect, publish, subscribe, consume, answer]
    topics: ["/{product_key}/{device_name}/user/up/+", "/{product_key}/{device_name}/user/down/#"]
`, os.Geteuid())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.StartSidecar(t, p, "", "--config", file)
	ctx := harness.Within(t)
	if _, err := s.Devices.Connect(ctx, &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	}); err != nil {
		t.Fatal(err)
	}
	messages := pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	denied := func(err error, topic string) {
		t.Helper()
		if st := status.Convert(err); st.Code() != codes.PermissionDenied || !strings.Contains(st.Message(), topic) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	_, err := messages.Publish(ctx, &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "secret", Payload: []byte("x")}})
	denied(err, ownTopic+"secret")
	stream, err := messages.PublishStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.PublishStreamRequest{Messages: []*pb.OutgoingMessage{
		{Id: 1, Topic: ownTopic + "up/a", Payload: []byte("one")},
		{Id: 2, Topic: ownTopic + "up/a/b", Payload: []byte("two")},
		{Id: 3, Topic: ownTopic + "down/a/b", Payload: []byte("three")},
	}}); err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseSend()
	receipts := map[uint64]*pb.Receipt{}
	for len(receipts) < 3 {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range r.GetReceipts() {
			receipts[one.GetId()] = one
		}
	}
	if r := receipts[2]; r.GetOutcome() != pb.Outcome_OUTCOME_FAILED || r.GetReason() != pb.ErrorReason_ERROR_REASON_CALLER_NOT_PERMITTED ||
		!strings.Contains(r.GetDetail(), ownTopic+"up/a/b") {
		t.Errorf("%v", r)
	}
	if got := published(t, p); strings.Join(got, " ") != "one three" {
		t.Errorf("the platform got %v", got)
	}
	for _, c := range []struct {
		filters string
		denied  string
	}{
		{ownTopic + "down/# " + ownTopic + "up/x", ""},
		{ownTopic + "down/# " + ownTopic + "#", ownTopic + "#"},
		{ownTopic + "+/a", ownTopic + "+/a"},
	} {
		subscription, err := messages.Subscribe(ctx, &pb.SubscribeRequest{Filters: strings.Split(c.filters, " ")})
		if err != nil {
			t.Fatal(err)
		}
		first, err := subscription.Recv()
		if c.denied != "" {
			denied(err, c.denied)
		} else if err != nil || !first.GetGranted() {
			t.Errorf("%s: %v, %v", c.filters, first, err)
		}
		consume, err := messages.Consume(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := consume.Send(&pb.ConsumeRequest{Open: &pb.OpenInbox{Inbox: "a", Filters: strings.Split(c.filters, " "), Replace: true}}); err != nil {
			t.Fatal(err)
		}
		if _, err = consume.Recv(); c.denied != "" {
			denied(err, c.denied)
		} else if err != nil {
			t.Errorf("%s: %v", c.filters, err)
		}
	}
	calls, err := messages.AnswerCalls(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := calls.Send(&pb.AnswerCallsRequest{Topics: []string{ownTopic + "down/x"}}); err != nil {
		t.Fatal(err)
	}
	_, err = calls.Recv()
	denied(err, "/ext/rrpc/+"+ownTopic+"down/x") // the rule would have to name it so
}
