package program

import (
	"context"
	"io"
	"net"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// bareServer answers Publish and GetDevice at once, on a Unix socket in Dir: what gRPC costs when there is nothing to do. It has
// neither interceptors nor limits.
func bareServer(ctx context.Context, p Params, out io.Writer) (Figures, error) {
	path := filepath.Join(p.Dir, "bare.sock")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer()
	pb.RegisterMessagingServiceServer(s, bareMessaging{})
	pb.RegisterConnectivityServiceServer(s, bareConnectivity{})
	if err := say(out, map[string]string{"address": "unix://" + path}); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.Stop)
	return nil, s.Serve(l)
}

type bareMessaging struct {
	pb.UnimplementedMessagingServiceServer
}

func (bareMessaging) Publish(context.Context, *pb.PublishRequest) (*pb.PublishResponse, error) {
	return &pb.PublishResponse{Outcome: pb.Outcome_OUTCOME_ACKNOWLEDGED}, nil
}

type bareConnectivity struct {
	pb.UnimplementedConnectivityServiceServer
}

// GetDevice answers with as much as the sidecar does.
func (bareConnectivity) GetDevice(_ context.Context, r *pb.GetDeviceRequest) (*pb.GetDeviceResponse, error) {
	now := timestamppb.Now()
	return &pb.GetDeviceResponse{Status: &pb.DeviceStatus{
		Device: r.GetDevice(), State: pb.LinkState_LINK_STATE_ONLINE, StateTime: now, Wanted: true, Endpoint: "localhost:8883", Attempt: 1,
		Credential: &pb.CredentialInfo{
			Kind: pb.CredentialKind_CREDENTIAL_KIND_MQTT, Fingerprint: "0123456789abcdef", Source: "connect", StoredTime: now,
		},
		Counters: &pb.DeviceCounters{Attempts: 1, Connects: 1, BytesReceived: 1000, BytesSent: 1000},
		Queue:    &pb.QueueStatus{},
	}}, nil
}
