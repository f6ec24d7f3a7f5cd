package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// mosquitto runs Debian's broker on loopback and returns it with its port. It knows one user.
func mosquitto(t *testing.T, port int) *harness.Running {
	t.Helper()
	dir := t.TempDir()
	passwords, config := filepath.Join(dir, "passwords"), filepath.Join(dir, "mosquitto.conf")
	if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", "-b", "-c", passwords, "the-user", "the-password").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\npassword_file %s\nlog_dest stderr\nuser root\n", port, passwords)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := harness.Begin(t, exec.CommandContext(t.Context(), "mosquitto", "-c", config))
	harness.Eventually(t, "mosquitto", func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return broker
}

// freePort is one that nobody listens on now: mosquitto cannot tell which one it took.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRoundTripsOverABrokerThatIsNotOurs sends messages to mosquitto, which sends them back to their subscriber, also after
// it was killed and started anew.
func TestRoundTripsOverABrokerThatIsNotOurs(t *testing.T) {
	port := freePort(t)
	broker := mosquitto(t, port)
	s := harness.StartSidecar(t, harness.StartPlatform(t, 0), "", "--connects-per-minute", "0")
	ctx := harness.Within(t)
	connect := &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: &pb.Endpoint{Host: "127.0.0.1", Port: uint32(port)}, Tls: &pb.TlsSettings{PlainTcp: true},
		Credential: &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{
			ClientId: "dev-001", Username: "the-user", Password: "wrong",
		}},
	}
	if _, err := s.Devices.Connect(ctx, connect); err == nil {
		t.Fatal("mosquitto took a wrong password")
	}
	connect.GetMqttCredential().Password = "the-password"
	if _, err := s.Devices.Connect(ctx, connect); err != nil {
		t.Fatal(err)
	}
	messages := pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	topic := "/" + harness.ProductKey + "/dev-001/user/echo"
	stream, err := messages.Subscribe(ctx, &pb.SubscribeRequest{Filters: []string{"/" + harness.ProductKey + "/dev-001/user/+"}})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if r, err := stream.Recv(); err != nil || !r.Granted {
			t.Fatalf("round %d: %v, %v", round, r, err)
		}
		for i := range 100 {
			text := fmt.Sprint(round, " ", i)
			r, err := messages.Publish(ctx, &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: topic, Payload: []byte(text)}})
			if err != nil || r.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED {
				t.Fatalf("Publish: %v, %v", r, err)
			}
			back, err := stream.Recv()
			if err != nil || len(back.Messages) != 1 || string(back.Messages[0].Payload) != text || back.Messages[0].Qos != 1 {
				t.Fatalf("%s came back as %v, %v", text, back, err)
			}
		}
		if round == 0 {
			broker.Kill()
			mosquitto(t, port)
		}
	}
}

// TestWhatIsOnDiskOutlivesTheBroker stores messages while mosquitto is down. When it is back they go out, come back by an inbox, and
// are there after the sidecar was killed as well.
func TestWhatIsOnDiskOutlivesTheBroker(t *testing.T) {
	port := freePort(t)
	broker := mosquitto(t, port)
	p := harness.StartPlatform(t, 0)
	s := harness.StartSidecar(t, p, "", "--connects-per-minute", "0")
	ctx := harness.Within(t)
	session := false
	if _, err := s.Devices.Connect(ctx, &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: &pb.Endpoint{Host: "127.0.0.1", Port: uint32(port)}, Tls: &pb.TlsSettings{PlainTcp: true},
		Mqtt: &pb.MqttSettings{CleanSession: &session},
		Credential: &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{
			ClientId: "dev-001", Username: "the-user", Password: "the-password",
		}},
	}); err != nil {
		t.Fatal(err)
	}
	messages := pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	topic := "/" + harness.ProductKey + "/dev-001/user/echo"
	consume := func() pb.MessagingService_ConsumeClient {
		t.Helper()
		stream, err := messages.Consume(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&pb.ConsumeRequest{Open: &pb.OpenInbox{Inbox: "echo", Filters: []string{topic}}}); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	if r, err := consume().Recv(); err != nil || !r.Granted {
		t.Fatalf("first came %v, %v", r, err)
	}
	broker.Kill()
	const count = 200
	for i := range count {
		r, err := messages.Publish(ctx, &pb.PublishRequest{Message: &pb.OutgoingMessage{
			Topic: topic, Payload: fmt.Append(nil, i), Assurance: pb.Assurance_ASSURANCE_STORED,
		}})
		if err != nil || r.Outcome != pb.Outcome_OUTCOME_STORED {
			t.Fatalf("Publish: %v, %v", r, err)
		}
	}
	mosquitto(t, port)
	harness.Eventually(t, "all in the inbox", func() bool {
		r, err := messages.ListInboxes(ctx, &pb.ListInboxesRequest{})
		return err == nil && r.Inboxes[0].Messages >= count
	})
	s.Kill()
	s = harness.StartSidecar(t, p, s.Dir, "--connects-per-minute", "0")
	messages = pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"]))
	stream := consume()
	next := 0
	for next < count {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		answers := &pb.ConsumeRequest{}
		for _, d := range r.Deliveries {
			if string(d.Message.Payload) == fmt.Sprint(next) { // one that came twice is older
				next++
			}
			answers.Answers = append(answers.Answers, &pb.Answer{Delivery: d.Delivery, Verdict: pb.Verdict_VERDICT_DONE})
		}
		if err := stream.Send(answers); err != nil {
			t.Fatal(err)
		}
	}
}
