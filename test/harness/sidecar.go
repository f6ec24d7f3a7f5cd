package harness

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// Sidecar is a running sidecar and the directory it lives in.
type Sidecar struct {
	*Running
	Dir     string
	Devices pb.ConnectivityServiceClient
}

// StartSidecar runs a sidecar that trusts p in dir; in a new one when dir is empty.
func StartSidecar(t *testing.T, p *Platform, dir string, args ...string) *Sidecar {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	s := Launch(t, append([]string{
		"serve", "--listen", "unix://" + filepath.Join(dir, "s.sock"), "--state-dir", filepath.Join(dir, "state"), "--ca-file", p.CAFile(),
	}, args...)...)
	return &Sidecar{s, dir, pb.NewConnectivityServiceClient(Dial(t, s.Ready["address"]))}
}

// Device names a device of the fixture.
func Device(name string) *pb.Device { return &pb.Device{ProductKey: ProductKey, DeviceName: name} }

// Dial connects to a gRPC address of a ready line.
func Dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Within bounds a call that must not hang; no test asks how long it took.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Story is what a stream of events has told so far.
type Story struct {
	t      *testing.T
	mu     sync.Mutex
	events []*pb.EventsResponse
	end    error
}

// Follow reads a stream of events in the background until the test ends.
func (s *Sidecar) Follow(r *pb.EventsRequest) *Story {
	s.t.Helper()
	stream, err := s.Devices.Events(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	told := &Story{t: s.t}
	go func() {
		for {
			e, err := stream.Recv()
			told.mu.Lock()
			if err == nil {
				told.events = append(told.events, e)
			}
			told.end = err
			told.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return told
}

// All is every event so far, and the error that ended the stream, if one did.
func (s *Story) All() ([]*pb.EventsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*pb.EventsResponse(nil), s.events...), s.end
}

// Await waits for an event that is as wanted, and returns the first.
func (s *Story) Await(what string, is func(*pb.EventsResponse) bool) *pb.EventsResponse {
	s.t.Helper()
	var found *pb.EventsResponse
	Eventually(s.t, what, func() bool {
		events, _ := s.All()
		for _, e := range events {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}
