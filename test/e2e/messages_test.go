package e2e

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

const ownTopic = "/" + harness.ProductKey + "/dev-001/user/"

// connected is a sidecar with dev-001 online.
func connected(t *testing.T, args ...string) (*harness.Platform, *harness.Sidecar, pb.MessagingServiceClient) {
	t.Helper()
	p := harness.StartPlatform(t, 0, "--device-logins-per-minute", "-1")
	s := harness.StartSidecar(t, p, "", append([]string{"--connects-per-minute", "0"}, args...)...)
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	}); err != nil {
		t.Fatal(err)
	}
	return p, s, pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
}

// published are the payloads that the platform got, in their order.
func published(t *testing.T, p *harness.Platform) (all []string) {
	t.Helper()
	got, err := p.Console.ListMessages(harness.Within(t), &sandboxv1.ListMessagesRequest{Device: harness.ConsoleDevice("dev-001")})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got.Messages {
		all = append(all, string(m.Payload))
	}
	return all
}

func TestAMessageIsAcknowledgedByThePlatform(t *testing.T) {
	p, s, messages := connected(t)
	r, err := messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "update", Payload: []byte("one")}})
	if err != nil || r.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED {
		t.Errorf("Publish: %v, %v", r, err)
	}
	c := exec.CommandContext(harness.Within(t), harness.Binary, "publish", "--address", s.Ready["address"], ownTopic+"update", "--stream")
	c.Stdin = strings.NewReader("two\nthree\n")
	if out, err := c.CombinedOutput(); err != nil || string(out) != "2 acknowledged by the platform\n" {
		t.Errorf("publish --stream: %v\n%s", err, out)
	}
	if got := published(t, p); strings.Join(got, " ") != "one two three" {
		t.Errorf("the platform got %v", got)
	}
}

func TestWhatThePlatformWouldDropIsRefusedByName(t *testing.T) {
	p, s, messages := connected(t)
	two := uint32(2)
	for field, m := range map[string]*pb.OutgoingMessage{
		"message.topic":   {Topic: "/" + harness.ProductKey + "/dev-002/user/update"},
		"message.qos":     {Topic: ownTopic + "update", Qos: &two},
		"message.retain":  {Topic: ownTopic + "update", Retain: true},
		"message.payload": {Topic: ownTopic + "update", Payload: make([]byte, 262145)},
	} {
		_, err := messages.Publish(harness.Within(t), &pb.PublishRequest{Message: m})
		if st := status.Convert(err); st.Code() != codes.InvalidArgument || !strings.Contains(st.Message(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if got := published(t, p); len(got) != 0 {
		t.Errorf("the platform got %v", got)
	}
	if _, err := s.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "update"}})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not online") {
		t.Errorf("offline: %v", err)
	}
}

func TestAMessageUnderWayWhenTheLinkIsLostIsUnknown(t *testing.T) {
	p, s, messages := connected(t)
	if _, err := p.Console.SetFault(harness.Within(t), &sandboxv1.SetFaultRequest{Fault: &sandboxv1.Fault{
		Connections: 1, Effect: &sandboxv1.Fault_SwallowPuback{SwallowPuback: true},
	}}); err != nil {
		t.Fatal(err)
	}
	kick := func() {
		if _, err := p.Console.KickDevice(harness.Within(t), &sandboxv1.KickDeviceRequest{Device: harness.ConsoleDevice("dev-001")}); err != nil {
			t.Fatal(err)
		}
	}
	kick() // the fault acts on the next link
	harness.Eventually(t, "the link with the fault", func() bool {
		got, err := s.Devices.GetDevice(harness.Within(t), &pb.GetDeviceRequest{})
		return err == nil && got.GetStatus().GetCounters().GetConnects() == 2 && got.GetStatus().GetState() == pb.LinkState_LINK_STATE_ONLINE
	})
	outcome := make(chan error, 1)
	go func() {
		_, err := messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "update", Payload: []byte("x")}})
		outcome <- err
	}()
	harness.Eventually(t, "the message at the platform", func() bool { return len(published(t, p)) == 1 })
	kick()
	if err := <-outcome; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the platform may have it") {
		t.Errorf("Publish: %v", err)
	}
}

func TestAStreamOfMessagesKeepsItsOrderAndEachHasItsReceipt(t *testing.T) {
	p, _, messages := connected(t)
	stream, err := messages.PublishStream(harness.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	const batches, each = 20, 25
	id := uint64(0)
	for range batches {
		r := &pb.PublishStreamRequest{}
		for range each {
			id++
			r.Messages = append(r.Messages, &pb.OutgoingMessage{Id: id, Topic: ownTopic + "update", Payload: fmt.Append(nil, id)})
		}
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	receipts := map[uint64]bool{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, receipt := range r.Receipts {
			if receipt.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED || receipts[receipt.Id] {
				t.Errorf("receipt %v", receipt)
			}
			receipts[receipt.Id] = true
		}
	}
	got := published(t, p)
	if len(receipts) != batches*each || len(got) != batches*each {
		t.Fatalf("%d receipts, and the platform got %d", len(receipts), len(got))
	}
	for i, payload := range got {
		if payload != fmt.Sprint(i+1) {
			t.Fatalf("message %d arrived as number %d", i+1, i)
		}
	}
}

func TestAnIDThatWaitsForItsReceiptCannotBeUsedAgain(t *testing.T) {
	_, _, messages := connected(t)
	stream, err := messages.PublishStream(harness.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	twice := &pb.OutgoingMessage{Id: 7, Topic: ownTopic + "update"}
	if err := stream.Send(&pb.PublishStreamRequest{Messages: []*pb.OutgoingMessage{twice, twice}}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the id of one") {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestMessagesComeAgainAfterTheLinkWasLost(t *testing.T) {
	p, s, messages := connected(t)
	stream, err := messages.Subscribe(harness.Within(t), &pb.SubscribeRequest{Filters: []string{ownTopic + "get"}})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		if r, err := stream.Recv(); err != nil || !r.Granted {
			t.Fatalf("round %d: %v, %v", round, r, err)
		}
		sent, err := p.Console.PublishDownstream(harness.Within(t), &sandboxv1.PublishDownstreamRequest{
			Device: harness.ConsoleDevice("dev-001"), Topic: ownTopic + "get", Payload: fmt.Append(nil, round), Qos: 1,
		})
		if err != nil || sent.Delivery != sandboxv1.Delivery_DELIVERY_SENT {
			t.Fatalf("round %d: %v, %v", round, sent, err)
		}
		if r, err := stream.Recv(); err != nil || len(r.Messages) != 1 || string(r.Messages[0].Payload) != fmt.Sprint(round) {
			t.Fatalf("round %d: %v, %v", round, r, err)
		}
		if _, err := p.Console.KickDevice(harness.Within(t), &sandboxv1.KickDeviceRequest{Device: harness.ConsoleDevice("dev-001")}); err != nil {
			t.Fatal(err)
		}
	}
	if code := s.Terminate(); code != 0 {
		t.Errorf("with an open subscription the sidecar ended with %d", code)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestStoredMessagesSurviveAKillAndAreSentInOrder(t *testing.T) {
	p, s, messages := connected(t)
	if _, err := s.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil {
		t.Fatal(err)
	}
	m := func(i int) *pb.PublishRequest {
		return &pb.PublishRequest{Message: &pb.OutgoingMessage{
			Topic: ownTopic + "update", Payload: fmt.Append(nil, i), Assurance: pb.Assurance_ASSURANCE_STORED, Key: fmt.Sprint("key-", i),
		}}
	}
	for i := range 20 {
		if r, err := messages.Publish(harness.Within(t), m(i)); err != nil || r.Outcome != pb.Outcome_OUTCOME_STORED || r.Sequence != uint64(i+1) {
			t.Fatalf("Publish: %v, %v", r, err)
		}
	}
	c := exec.CommandContext(harness.Within(t), harness.Binary, "publish", "--address", s.Ready["address"], ownTopic+"update", "--stream", "--stored")
	c.Stdin = strings.NewReader("twenty\ntwenty-one\n")
	if out, err := c.CombinedOutput(); err != nil || string(out) != "2 stored by the sidecar\n" {
		t.Errorf("publish --stream --stored: %v\n%s", err, out)
	}
	s.Kill()
	s = harness.StartSidecar(t, p, s.Dir)
	messages = pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	if r, err := messages.Publish(harness.Within(t), m(7)); err != nil || !r.Duplicate || r.Sequence != 8 {
		t.Errorf("given again after the kill: %v, %v", r, err)
	}
	told := s.Follow(&pb.EventsRequest{})
	if got, err := s.Devices.GetDevice(harness.Within(t), &pb.GetDeviceRequest{}); err != nil || got.GetStatus().GetQueue().GetStoredMessages() != 22 {
		t.Errorf("GetDevice: %v, %v", got, err)
	}
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{Endpoint: p.Endpoint()}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the end of all", func() bool {
		ended := uint64(0)
		events, _ := told.All()
		for _, e := range events {
			if end := e.GetStoredEnded(); end.GetOutcome() == pb.Outcome_OUTCOME_ACKNOWLEDGED {
				ended += end.GetCount()
			}
		}
		return ended == 22
	})
	got := published(t, p)
	if len(got) != 22 || got[0] != "0" || got[19] != "19" || got[21] != "twenty-one" {
		t.Errorf("the platform got %v", got)
	}
	if r, err := messages.Publish(harness.Within(t), m(7)); err != nil || !r.Duplicate || r.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED {
		t.Errorf("given again after the end: %v, %v", r, err)
	}
}

func TestStreamsWithStoredMessagesDoNotHoldUpTheEnd(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	s := harness.StartSidecar(t, p, "", "--drain-timeout", "3600")
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil { // so that nothing of it ends
		t.Fatal(err)
	}
	messages := pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	var streams []pb.MessagingService_PublishStreamClient
	for range 2 {
		stream, err := messages.PublishStream(harness.Within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&pb.PublishStreamRequest{Messages: []*pb.OutgoingMessage{
			{Topic: ownTopic + "update", Assurance: pb.Assurance_ASSURANCE_STORED},
		}}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || len(r.Receipts) != 1 || r.Receipts[0].Outcome != pb.Outcome_OUTCOME_STORED {
			t.Fatalf("first came %v, %v", r, err)
		}
		streams = append(streams, stream)
	}
	if err := streams[1].CloseSend(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	go func() { ended <- s.Terminate() }()
	for _, stream := range streams {
		if r, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("then came %v, %v", r, err)
		}
	}
	if code := <-ended; code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestAnInboxKeepsMessagesOverAKillUntilTheyAreDone(t *testing.T) {
	p, s, messages := connected(t)
	send := func(payload string) {
		t.Helper()
		sent, err := p.Console.PublishDownstream(harness.Within(t), &sandboxv1.PublishDownstreamRequest{
			Device: harness.ConsoleDevice("dev-001"), Topic: ownTopic + "get", Payload: []byte(payload), Qos: 1,
		})
		if err != nil || sent.Delivery != sandboxv1.Delivery_DELIVERY_SENT {
			t.Fatalf("%v, %v", sent, err)
		}
	}
	open := &pb.ConsumeRequest{Open: &pb.OpenInbox{Inbox: "a", Filters: []string{ownTopic + "get"}}}
	stream, err := messages.Consume(harness.Within(t))
	if err != nil || stream.Send(open) != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || !r.Granted {
		t.Fatalf("first came %v, %v", r, err)
	}
	send("one")
	first, err := stream.Recv()
	if err != nil || len(first.Deliveries) != 1 || first.Deliveries[0].Count != 1 {
		t.Fatalf("then came %v, %v", first, err)
	}
	send("two")
	harness.Eventually(t, "both in the inbox", func() bool {
		r, err := messages.ListInboxes(harness.Within(t), &pb.ListInboxesRequest{})
		return err == nil && r.Inboxes[0].Messages == 2 && r.Inboxes[0].Consumers == 1
	})
	s.Kill() // with both unanswered
	s = harness.StartSidecar(t, p, s.Dir, "--connects-per-minute", "0")
	messages = pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	if stream, err = messages.Consume(harness.Within(t)); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(open); err != nil {
		t.Fatal(err)
	}
	var again []*pb.Delivery
	for len(again) < 2 {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, r.Deliveries...)
	}
	if string(again[0].Message.Payload) != "one" || string(again[1].Message.Payload) != "two" {
		t.Errorf("after the kill came %v", again)
	}
	if err := stream.Send(&pb.ConsumeRequest{Answers: []*pb.Answer{{Delivery: again[0].Delivery, Verdict: pb.Verdict_VERDICT_DONE}}}); err != nil {
		t.Fatal(err)
	}
	for settled := false; !settled; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		settled = len(r.Settled) == 1
	}
	s.Kill()
	s = harness.StartSidecar(t, p, s.Dir, "--connects-per-minute", "0")
	c := exec.CommandContext(harness.Within(t), harness.Binary, "subscribe", "--address", s.Ready["address"], "--consumer", "a", "--count", "1", "--output", "json")
	if out, err := c.Output(); err != nil || !strings.Contains(string(out), `"dHdv"`) { // "two"
		t.Errorf("subscribe --consumer: %v\n%s", err, out)
	}
	messages = pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	if r, err := messages.ListInboxes(harness.Within(t), &pb.ListInboxesRequest{}); err != nil || r.Inboxes[0].Messages != 0 {
		t.Errorf("left in the inbox: %v, %v", r, err)
	}
	if _, err := messages.DeleteInbox(harness.Within(t), &pb.DeleteInboxRequest{Inbox: "a"}); err != nil {
		t.Error(err)
	}
}

func TestAnInboxThatCannotBeIsRefused(t *testing.T) {
	_, _, messages := connected(t)
	for want, open := range map[codes.Code]*pb.OpenInbox{
		codes.NotFound:        {Inbox: "none"},
		codes.InvalidArgument: {Inbox: "a b", Filters: []string{ownTopic + "get"}},
		codes.OK:              {Inbox: "good", Filters: []string{ownTopic + "get"}},
	} {
		stream, err := messages.Consume(harness.Within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&pb.ConsumeRequest{Open: open}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("%s: %v", open.Inbox, err)
		}
	}
}
