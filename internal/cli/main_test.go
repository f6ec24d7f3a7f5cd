package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSidecar answers as it is told.
type fakeSidecar struct {
	pb.UnimplementedConnectivityServiceServer
	address string

	register   func(*pb.RegisterRequest) (*pb.RegisterResponse, error)
	connect    func(context.Context, *pb.ConnectRequest) (*pb.ConnectResponse, error)
	disconnect func(*pb.DisconnectRequest) (*pb.DisconnectResponse, error)
	forget     func(*pb.ForgetDeviceRequest) (*pb.ForgetDeviceResponse, error)
	events     func(*pb.EventsRequest, grpc.ServerStreamingServer[pb.EventsResponse]) error
	devices    []*pb.DeviceStatus
}

func (f *fakeSidecar) Register(_ context.Context, r *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	return f.register(r)
}

func (f *fakeSidecar) Connect(ctx context.Context, r *pb.ConnectRequest) (*pb.ConnectResponse, error) {
	return f.connect(ctx, r)
}

func (f *fakeSidecar) Disconnect(_ context.Context, r *pb.DisconnectRequest) (*pb.DisconnectResponse, error) {
	return f.disconnect(r)
}

func (f *fakeSidecar) ForgetDevice(_ context.Context, r *pb.ForgetDeviceRequest) (*pb.ForgetDeviceResponse, error) {
	return f.forget(r)
}

func (f *fakeSidecar) Events(r *pb.EventsRequest, stream grpc.ServerStreamingServer[pb.EventsResponse]) error {
	return f.events(r, stream)
}

func (f *fakeSidecar) GetDevice(_ context.Context, r *pb.GetDeviceRequest) (*pb.GetDeviceResponse, error) {
	for _, s := range f.devices {
		if deviceName(s.GetDevice()) == deviceName(r.GetDevice()) {
			return &pb.GetDeviceResponse{Status: s}, nil
		}
	}
	return nil, refusal("NotFound", "DEVICE_UNKNOWN", "the sidecar does not know the device")
}

// ListDevices has pages of one device.
func (f *fakeSidecar) ListDevices(_ context.Context, r *pb.ListDevicesRequest) (*pb.ListDevicesResponse, error) {
	at := len(r.GetPageToken())
	if at >= len(f.devices) {
		return &pb.ListDevicesResponse{}, nil
	}
	response := &pb.ListDevicesResponse{Devices: f.devices[at : at+1]}
	if at+1 < len(f.devices) {
		response.NextPageToken = strings.Repeat("x", at+1)
	}
	return response, nil
}

// serve starts the fake on a Unix socket.
func (f *fakeSidecar) serve(t *testing.T) *fakeSidecar {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") //nolint:usetesting // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f.address = "unix://" + path
	f.serveOn(t, l)
	return f
}

func (f *fakeSidecar) serveOn(t *testing.T, l net.Listener, options ...grpc.ServerOption) {
	server := grpc.NewServer(options...)
	pb.RegisterConnectivityServiceServer(server, f)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { server.Stop(); served.Wait() })
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// invocation is a command line and its surroundings.
type invocation struct {
	address string // "" is none
	environ []string
	stdin   string
}

func (i invocation) run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	environ := i.environ
	if i.address != "" {
		environ = append(environ, "LINKKIT_SIDECAR_ADDRESS="+i.address)
	}
	code := Program{
		Version: "1.2.3", Args: args, Environ: environ, Stdin: strings.NewReader(i.stdin), Stdout: &stdout, Stderr: &stderr,
	}.Run(t.Context())
	return result{code, stdout.String(), stderr.String()}
}

func (f *fakeSidecar) run(t *testing.T, args ...string) result {
	t.Helper()
	return invocation{address: f.address}.run(t, args...)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
