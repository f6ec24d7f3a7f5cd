package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// What a caller's own tracing would put into the metadata of its calls.
const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	otherTrace  = "0af7651916cd43dd8448eb211c80319c"
)

func traceparent(trace string) string { return "00-" + trace + "-" + callerSpan + "-01" }

// traced is a context with which calls belong to a trace.
func traced(t *testing.T, trace string) context.Context {
	return metadata.AppendToOutgoingContext(harness.Within(t), "traceparent", traceparent(trace))
}

// follows fails the test unless s is a child of parent.
func follows(t *testing.T, s *tracepb.Span, parent []byte) {
	t.Helper()
	if !bytes.Equal(s.ParentSpanId, parent) {
		t.Errorf("the parent of %q is %x, want %x", s.Name, s.ParentSpanId, parent)
	}
}

const (
	publishCall   = "linkkit_sidecar.v1.MessagingService/Publish"
	streamCall    = "linkkit_sidecar.v1.MessagingService/PublishStream"
	connectCall   = "linkkit_sidecar.v1.ConnectivityService/Connect"
	registerCall  = "linkkit_sidecar.v1.ConnectivityService/Register"
	topicTemplate = " /{product_key}/{device_name}/user/update"
)

func TestOneTraceGoesFromTheCallerToTheAcknowledgement(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := harness.StartCollector(t, protocol)
			t.Setenv("OTEL_SERVICE_NAME", "line-4")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			_, s, messages := connected(t, "--log-level", "debug", "--log-format", "json")
			if _, err := messages.Publish(traced(t, callerTrace), &pb.PublishRequest{
				Message: &pb.OutgoingMessage{Topic: ownTopic + "update", Payload: []byte("one")},
			}); err != nil {
				t.Fatal(err)
			}
			call, publish := c.Await(callerTrace, publishCall), c.Await(callerTrace, "publish"+topicTemplate)
			queue, send := c.Await(callerTrace, "queue"+topicTemplate), c.Await(callerTrace, "send"+topicTemplate)
			parent, _ := hex.DecodeString(callerSpan)
			follows(t, call, parent)
			follows(t, publish, call.SpanId)
			follows(t, queue, publish.SpanId)
			follows(t, send, publish.SpanId)
			if queue.EndTimeUnixNano > send.StartTimeUnixNano || send.EndTimeUnixNano > publish.EndTimeUnixNano {
				t.Errorf("not in this order: %v\n%v\n%v", queue, send, publish)
			}
			for key, want := range map[string]string{
				"messaging.system": "mqtt", "messaging.destination.name": ownTopic + "update", "messaging.message.body.size": "3",
				"messaging.operation.type": "send", "linkkit.device": harness.ProductKey + "/dev-001", "linkkit.link": "1", "server.address": "localhost",
			} {
				if got := harness.Attribute(send, key); got != want {
					t.Errorf("send: %s is %q, want %q", key, got, want)
				}
			}
			if got := harness.Attribute(publish, "linkkit.outcome"); got != "acknowledged" {
				t.Errorf("the outcome is %q", got)
			}
			for key, want := range map[string]string{"service.name": "line-4", "deployment.environment.name": "test"} {
				if got := c.Resource(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			line := `"trace_id":"` + callerTrace + `","span_id":"` + hex.EncodeToString(call.SpanId) + `"`
			harness.Eventually(t, "the log line of the call, with "+line, func() bool { return strings.Contains(s.Log(), line) })
		})
	}
}

func TestATraceOutlivesTheSidecarThatBeganIt(t *testing.T) {
	c := harness.StartCollector(t, "http/protobuf")
	p, s, messages := connected(t)
	if _, err := s.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := messages.Publish(traced(t, callerTrace), &pb.PublishRequest{
		Message: &pb.OutgoingMessage{Topic: ownTopic + "update", Assurance: pb.Assurance_ASSURANCE_STORED},
	}); err != nil {
		t.Fatal(err)
	}
	publish := c.Await(callerTrace, "publish"+topicTemplate)
	follows(t, c.Await(callerTrace, "store"+topicTemplate), publish.SpanId)
	if outcome, sequence := harness.Attribute(publish, "linkkit.outcome"), harness.Attribute(publish, "linkkit.sequence"); outcome != "stored" || sequence != "1" {
		t.Errorf("outcome %q, sequence %q", outcome, sequence)
	}
	s.Kill()

	s = harness.StartSidecar(t, p, s.Dir)
	if _, err := s.Devices.Connect(harness.Within(t), &pb.ConnectRequest{Endpoint: p.Endpoint()}); err != nil {
		t.Fatal(err)
	}
	follows(t, c.Await(callerTrace, "send"+topicTemplate), publish.SpanId)
	queue := c.Await(callerTrace, "queue"+topicTemplate)
	follows(t, queue, publish.SpanId)
	if queue.StartTimeUnixNano > publish.EndTimeUnixNano {
		t.Errorf("it waited since %v, and was stored at %v", queue.StartTimeUnixNano, publish.EndTimeUnixNano)
	}
}

func TestEachMessageOfAStreamMayBelongToATraceOfItsOwn(t *testing.T) {
	c := harness.StartCollector(t, "http/protobuf")
	_, s, messages := connected(t)
	stream, err := messages.PublishStream(harness.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.PublishStreamRequest{Messages: []*pb.OutgoingMessage{
		{Id: 1, Topic: ownTopic + "update", Traceparent: traceparent(callerTrace)},
		{Id: 2, Topic: ownTopic + "update", Traceparent: traceparent(otherTrace)},
		{Id: 3, Topic: ownTopic + "update"},
		{Id: 4, Topic: ownTopic + "update", Traceparent: "00-not-a-trace"},
		{Id: 5, Topic: ownTopic + "update", Traceparent: strings.TrimSuffix(traceparent("1"+callerTrace[1:]), "1") + "0"}, // not sampled
	}}); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < 5; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, receipt := range r.Receipts {
			if receipt.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED {
				t.Errorf("receipt %v", receipt)
			}
			got++
		}
	}
	_ = stream.CloseSend()
	call := c.Await("", streamCall)
	for _, trace := range []string{callerTrace, otherTrace} {
		publish := c.Await(trace, "publish"+topicTemplate)
		if len(publish.Links) != 1 || !bytes.Equal(publish.Links[0].SpanId, call.SpanId) {
			t.Errorf("its links are %v, want the stream's span %x", publish.Links, call.SpanId)
		}
		follows(t, c.Await(trace, "send"+topicTemplate), publish.SpanId)
	}
	if code := s.Terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	sent := 0
	for _, span := range c.Spans() { // by now all have come
		if span.Name == "send"+topicTemplate {
			sent++
		}
	}
	if sent != 2 {
		t.Errorf("%d messages have a span, want 2", sent)
	}
}

func TestLoginsAndRegistrationsHaveSpansAndNoSpanHasASecret(t *testing.T) {
	const wrongSecret, payload = "ffffffffffffffffffffffffffffffff", "what the device says"
	c := harness.StartCollector(t, "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20bm9ib2R5")
	p := harness.StartPlatform(t, 2, "--device-logins-per-minute", "-1")
	s := harness.StartSidecar(t, p, "", "--connects-per-minute", "0")
	connect := func(trace, name, secret string) error {
		_, err := s.Devices.Connect(traced(t, trace), &pb.ConnectRequest{
			Device: harness.Device(name), Endpoint: p.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret},
		})
		return err
	}
	if err := connect(otherTrace, "dev-001", wrongSecret); err == nil {
		t.Fatal("a wrong secret was taken")
	}
	follows(t, c.Await(otherTrace, "connect"), c.Await(otherTrace, connectCall).SpanId)
	login := c.Await(otherTrace, "login")
	if got := harness.Attribute(login, "error.type"); login.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || !strings.Contains(got, "credentials") {
		t.Errorf("the refused login has %v, %q", login.Status, got)
	}
	if err := connect(callerTrace, "dev-001", harness.DeviceSecret); err != nil {
		t.Fatal(err)
	}
	attempt := c.Await(callerTrace, "connect")
	follows(t, attempt, c.Await(callerTrace, connectCall).SpanId)
	for _, step := range []string{"dial", "tls", "login"} {
		span := c.Await(callerTrace, step)
		follows(t, span, attempt.SpanId)
		if span.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: %v", step, span.Status)
		}
	}
	online := "attempt=1 link=1 cursor="
	harness.Eventually(t, "the line of the login with its trace", func() bool {
		for line := range strings.Lines(s.Log()) {
			if strings.Contains(line, "msg=online") && strings.Contains(line, online) && strings.Contains(line, " trace_id="+callerTrace+" ") {
				return true
			}
		}
		return false
	})
	const third = "1af7651916cd43dd8448eb211c80319c"
	if _, err := s.Devices.Register(traced(t, third), &pb.RegisterRequest{
		Device: harness.Device("dev-002"), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: harness.ProductSecret, Endpoint: p.Endpoint(),
	}); err != nil {
		t.Fatal(err)
	}
	register := c.Await(third, "register")
	follows(t, register, c.Await(third, registerCall).SpanId)
	follows(t, c.Await(third, "login"), register.SpanId)
	if _, err := pb.NewMessagingServiceClient(harness.Dial(t, s.Ready["address"])).Publish(harness.Within(t), &pb.PublishRequest{
		Device: harness.Device("dev-001"), Message: &pb.OutgoingMessage{Topic: ownTopic + "update", Payload: []byte(payload)},
	}); err != nil {
		t.Fatal(err)
	}
	if code := s.Terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.Await("", "send"+topicTemplate)
	got := c.Raw()
	for _, secret := range []string{wrongSecret, harness.DeviceSecret, harness.ProductSecret, payload, "bm9ib2R5", "hmacsha256"} {
		if bytes.Contains(bytes.ToLower(got), []byte(strings.ToLower(secret))) {
			t.Errorf("a span tells %q", secret)
		}
	}
	if !bytes.Contains(got, []byte(harness.ProductKey)) {
		t.Error("nothing was looked at")
	}
}

func TestTracesAreOffWhenTheEnvironmentSaysSo(t *testing.T) {
	for variable, value := range map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_off"} {
		t.Run(variable, func(t *testing.T) {
			c := harness.StartCollector(t, "http/protobuf")
			t.Setenv(variable, value)
			_, s, messages := connected(t)
			if _, err := messages.Publish(traced(t, callerTrace), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "update"}}); err != nil {
				t.Fatal(err)
			}
			if code := s.Terminate(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := c.Spans(); len(got) > 0 {
				t.Errorf("spans were exported: %v", got)
			}
		})
	}
}

func TestACollectorThatDoesNotAnswerDelaysNobody(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	absent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = absent.Close()
	for name, address := range map[string]string{"silent": silent.Addr().String(), "absent": absent.Addr().String()} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
				t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
				t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000") // ten minutes: what ends in time, ends without it
				t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "600000")
				_, s, messages := connected(t)
				for range 100 {
					if _, err := messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{Topic: ownTopic + "update"}}); err != nil {
						t.Fatal(err)
					}
				}
				ended := make(chan int, 1)
				go func() { ended <- s.Terminate() }()
				select {
				case code := <-ended:
					if code != 0 {
						t.Errorf("exit code %d", code)
					}
				case <-time.After(time.Minute):
					t.Fatal("it does not end")
				}
				if n := strings.Count(s.Log(), "level=WARN"); n != 1 || !strings.Contains(s.Log(), "span") {
					t.Errorf("%d warnings, want one of spans:\n%s", n, s.Log())
				}
			})
		}
	}
}
