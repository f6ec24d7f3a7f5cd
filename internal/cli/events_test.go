package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func happened(sequence uint64, e *pb.EventsResponse) *pb.EventsResponse {
	e.Cursor = &pb.Cursor{Epoch: "e1", Sequence: sequence}
	e.Time = timestamppb.New(noon)
	if e.GetSnapshot() == nil {
		e.Device = dev001
	}
	return e
}

func snapshot(sequence uint64) *pb.EventsResponse {
	return happened(sequence, &pb.EventsResponse{Event: &pb.EventsResponse_Snapshot{Snapshot: &pb.StateSnapshot{Devices: []*pb.DeviceStatus{online(dev001)}}}})
}

func connecting(sequence uint64) *pb.EventsResponse {
	return happened(sequence, &pb.EventsResponse{Event: &pb.EventsResponse_Connecting{
		Connecting: &pb.Connecting{Attempt: uint32(sequence), Endpoint: "localhost:8883"},
	}})
}

func TestEveryKindOfEventHasItsWords(t *testing.T) {
	fields := (&pb.EventsResponse{}).ProtoReflect().Descriptor().Oneofs().ByName("event").Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Name() == "snapshot" {
			continue
		}
		e := &pb.EventsResponse{Time: timestamppb.New(noon)}
		e.ProtoReflect().Set(field, e.ProtoReflect().NewField(field))
		if text := textOf(e); text.kind == "" || text.kind == "something" {
			t.Errorf("%s has no words", field.Name())
		}
	}
	if text := textOf(&pb.EventsResponse{}); !strings.Contains(text.detail, "newer") {
		t.Errorf("an unknown kind: %+v", text)
	}
}

func TestEventsAsLines(t *testing.T) {
	next := timestamppb.New(noon.Add(2 * time.Second))
	for _, row := range []struct {
		event *pb.EventsResponse
		want  string
	}{
		{
			&pb.EventsResponse{Event: &pb.EventsResponse_Lost{Lost: &pb.Lost{
				Cause: pb.Cause_CAUSE_CLOSED_BY_SERVER, Detail: "gone\x1b[2J", HeldMs: 61_000, NextAttemptTime: next,
			}}},
			`2026-03-04T12:00:00.000Z  a1B2c3D4e5F/dev-001  lost                closed by server: gone\x1b[2J; it had held 1m1s; tries again in 2s`,
		},
		{
			&pb.EventsResponse{Event: &pb.EventsResponse_Refused{Refused: &pb.Refused{
				Code: 4, Cause: pb.Cause_CAUSE_CONNACK_BAD_CREDENTIALS, Meaning: "wrong secret", Advice: "check it",
			}}},
			`2026-03-04T12:00:00.000Z  a1B2c3D4e5F/dev-001  refused             connack bad credentials: CONNACK 4: wrong secret; check it; does not try again by itself`,
		},
		{connecting(3), `2026-03-04T12:00:00.000Z  a1B2c3D4e5F/dev-001  connecting          to localhost:8883, attempt 3`},
		{
			&pb.EventsResponse{Event: &pb.EventsResponse_Disconnected{Disconnected: &pb.Disconnected{Cause: pb.Cause_CAUSE_REQUESTED}}},
			`2026-03-04T12:00:00.000Z  a1B2c3D4e5F/dev-001  disconnected        requested`,
		},
		{
			&pb.EventsResponse{Event: &pb.EventsResponse_EventsLost{EventsLost: &pb.EventsLost{Count: 5, Detail: "the journal is bounded"}}},
			`2026-03-04T12:00:00.000Z  a1B2c3D4e5F/dev-001  events lost         5 events: the journal is bounded`,
		},
	} {
		var out bytes.Buffer
		p := &eventPrinter{w: &out, clock: "2006-01-02T15:04:05.000Z"}
		e := happened(1, row.event)
		e.Time = timestamppb.New(noon.Add(-offset(noon))) // whatever zone this machine is in
		if n := e.GetLost(); n != nil {
			n.NextAttemptTime = timestamppb.New(e.GetTime().AsTime().Add(2 * time.Second))
		}
		if err := p.print(e); err != nil || out.String() != row.want+"\n" {
			t.Errorf("%q\nwant %q", out.String(), row.want)
		}
	}
}

func offset(at time.Time) time.Duration {
	_, seconds := at.Local().Zone()
	return time.Duration(seconds) * time.Second
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	if got := palette(true).paint(red, "a\x1bb"); got != "\x1b[31ma\\x1bb\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := palette(false).paint(red, "a"); got != "a" {
		t.Errorf("%q", got)
	}
	r := &run{Program: Program{Stdout: &bytes.Buffer{}}}
	if r.colour() {
		t.Error("colours for a file")
	}
}

// script is a fake whose streams send what is scripted for the first, the second and so on, and then end with an error, or stay
// open when it is nil.
func script(t *testing.T, streams ...func(*pb.EventsRequest) ([]*pb.EventsResponse, error)) (f *fakeSidecar, requests *[]*pb.EventsRequest) {
	requests = new([]*pb.EventsRequest)
	f = &fakeSidecar{}
	f.events = func(r *pb.EventsRequest, stream grpc.ServerStreamingServer[pb.EventsResponse]) error {
		n := len(*requests)
		*requests = append(*requests, proto.CloneOf(r))
		if n >= len(streams) {
			return status.Error(codes.InvalidArgument, "one stream too many")
		}
		events, err := streams[n](r)
		for _, e := range events {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
		if err == nil {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		return err
	}
	return f.serve(t), requests
}

func sends(err error, events ...*pb.EventsResponse) func(*pb.EventsRequest) ([]*pb.EventsResponse, error) {
	return func(*pb.EventsRequest) ([]*pb.EventsResponse, error) { return events, err }
}

var stopping = refusal("Unavailable", "SHUTTING_DOWN", "the sidecar is stopping")

func TestEventsGoOnAfterTheSidecarHasRestarted(t *testing.T) {
	f, requests := script(t,
		sends(stopping, snapshot(6), connecting(7)),
		sends(stopping), // it was not quite there yet
		sends(nil, snapshot(7), connecting(8)))
	r := f.run(t, "events", "--count", "2", "--output", "json")
	if r.code != exitOK || strings.Count(r.stdout, "\n") != 4 || strings.Count(r.stdout, `"sequence":"7"`) != 2 || !strings.Contains(r.stdout, `"sequence":"8"`) {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.stderr, "the sidecar ended the stream (the sidecar is stopping); waiting for it to come back, to go on after e1:7\n") {
		t.Errorf("said %q", r.stderr)
	}
	if len(*requests) != 3 || (*requests)[0].GetAfter() != nil || cursorText((*requests)[1].GetAfter()) != "e1:7" || cursorText((*requests)[2].GetAfter()) != "e1:7" {
		t.Errorf("asked %v", *requests)
	}
}

func TestEventsEndWhereThereIsNothingToWaitFor(t *testing.T) {
	for _, row := range []struct {
		err  error
		args string
		code int
	}{
		{stopping, "events --once", exitUnreachable},
		{refusal("PermissionDenied", "CALLER_NOT_PERMITTED", "no"), "events", exitFailed},
		{nil, "events --count 1", exitOK},
		{nil, "events --timeout 1", exitOK},
	} {
		f, _ := script(t, sends(row.err, snapshot(1), connecting(2)))
		r := f.run(t, strings.Fields(row.args)...)
		if r.code != row.code || !strings.Contains(r.stdout, "is online") || !strings.Contains(r.stdout, "connecting") {
			t.Errorf("%s: %+v", row.args, r)
		}
	}
}

func TestEventsAskForWhatTheFlagsSay(t *testing.T) {
	f, requests := script(t, sends(nil, snapshot(1), connecting(2)))
	r := f.run(t, "events", "-d", "a1B2c3D4e5F/dev-001", "--kind", "lost,attempt_failed", "--after", "e0:17", "--count", "1")
	want := &pb.EventsRequest{
		Devices: []*pb.Device{dev001}, After: &pb.Cursor{Epoch: "e0", Sequence: 17},
		Kinds: []pb.EventKind{pb.EventKind_EVENT_KIND_LOST, pb.EventKind_EVENT_KIND_ATTEMPT_FAILED},
	}
	if r.code != exitOK || !proto.Equal((*requests)[0], want) {
		t.Errorf("%+v, asked %v", r, *requests)
	}
}

func TestHistoryBeginsWithTheOldest(t *testing.T) {
	f, requests := script(t, sends(nil, snapshot(9)), sends(nil, snapshot(0), connecting(1)))
	r := f.run(t, "events", "--history", "--count", "1")
	if r.code != exitOK || len(*requests) != 2 || cursorText((*requests)[1].GetAfter()) != "e1:0" {
		t.Errorf("%+v, asked %v", r, *requests)
	}
}

func TestTheCursorFileKeepsThePlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor")
	for i, want := range []string{"", "e1:2", "e1:3"} {
		f, requests := script(t, sends(nil, snapshot(uint64(i+1)), connecting(uint64(i+2))))
		r := f.run(t, "events", "--cursor-file", path, "--count", "1")
		got := ""
		if after := (*requests)[0].GetAfter(); after != nil {
			got = cursorText(after)
		}
		if r.code != exitOK || got != want {
			t.Errorf("run %d: %+v, after %q, want %q", i, r, got, want)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintf("e1:%d\n", i+2) {
			t.Errorf("run %d: the file holds %q, %v", i, text, err)
		}
	}
}
