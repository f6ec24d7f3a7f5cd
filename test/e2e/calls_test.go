package e2e

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// TestAnAppAnswersThePlatformsCalls calls the device on both kinds of topics, as the platform's RRpc does.
func TestAnAppAnswersThePlatformsCalls(t *testing.T) {
	p, _, messages := connected(t)
	stream, err := messages.AnswerCalls(harness.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.AnswerCallsRequest{Topics: []string{
		"/sys/" + harness.ProductKey + "/dev-001/rrpc/request/+", ownTopic + "get",
	}}); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || !r.Granted {
		t.Fatalf("first came %v, %v", r, err)
	}
	results := make(chan *pb.CallResult, 10)
	go func() { // the app
		for {
			r, err := stream.Recv()
			if err != nil {
				close(results)
				return
			}
			for _, c := range r.Calls {
				answer := &pb.CallAnswer{Call: c.Call, Payload: append([]byte("re: "), c.Payload...)}
				_ = stream.Send(&pb.AnswerCallsRequest{Answers: []*pb.CallAnswer{answer, answer}}) // the second one is too many
			}
			for _, r := range r.Results {
				results <- r
			}
		}
	}()
	for _, topic := range []string{"", ownTopic + "get"} {
		answer, err := p.Console.CallDevice(harness.Within(t), &sandboxv1.CallDeviceRequest{
			Device: harness.ConsoleDevice("dev-001"), Topic: topic, Payload: []byte("ping"), Timeout: durationpb.New(8 * time.Second),
		})
		if err != nil || answer.Outcome != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED || string(answer.Payload) != "re: ping" {
			t.Errorf("the call on %q: %v, %v", topic, answer, err)
		}
		sent, refused := 0, 0
		for range 2 {
			switch r := <-results; {
			case r.GetOutcome() == pb.Outcome_OUTCOME_SENT:
				sent++
			case r.GetReason() == pb.ErrorReason_ERROR_REASON_CALL_ANSWERED:
				refused++
			}
		}
		if sent != 1 || refused != 1 {
			t.Errorf("%d answers were sent and %d refused", sent, refused)
		}
	}
	// What was answered before the app closed its side still gets its result.
	if err := stream.Send(&pb.AnswerCallsRequest{Answers: []*pb.CallAnswer{{Call: 12345}}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if r, open := <-results; !open || r.GetReason() != pb.ErrorReason_ERROR_REASON_CALL_UNKNOWN {
		t.Errorf("the last result is %v", r)
	}
	if _, open := <-results; open {
		t.Error("the stream goes on")
	}
}
