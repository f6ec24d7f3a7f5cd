package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// Sidecar is a running sidecar and a client of it.
type Sidecar struct {
	*Process
	Address  string
	StateDir string
	Devices  pb.ConnectivityServiceClient

	name string
}

// SidecarOptions say how to run it.
type SidecarOptions struct {
	Name     string   // of its socket and directory; default "sidecar"
	StateDir string   // default: a new one
	Under    []string // a command that runs it, as strace
	Observed bool     // with a door for profiles
}

// StartSidecar runs a sidecar without a limit for callers that do nothing else than call.
func (l *Lab) StartSidecar(o SidecarOptions) (*Sidecar, error) {
	if o.Name == "" {
		o.Name = "sidecar"
	}
	if o.StateDir == "" {
		o.StateDir = l.Path(o.Name + ".state")
	}
	config := l.Path("limits.yaml")
	if err := os.WriteFile(config, []byte("limits: {requests_per_second: -1, streams: -1}\n"), 0o600); err != nil {
		return nil, err
	}
	o.Observed = o.Observed || l.Profiles != ""
	binary := l.Options.Sidecar
	if o.Observed {
		binary = l.Observed
	}
	args := append(append([]string{}, o.Under...), binary, "serve", "--config", config, "--listen", "unix://"+l.Path(o.Name+".sock"),
		"--state-dir", o.StateDir, "--ca-file", l.Broker.CAFile, "--log-level", "warn")
	c := exec.CommandContext(l.ctx, args[0], args[1:]...)
	if o.Observed {
		c.Env = append(os.Environ(), "OBSERVE="+l.Path(o.Name+".observe"))
	}
	p, err := l.StartReady(c)
	if err != nil {
		return nil, err
	}
	client, err := grpc.NewClient(p.Say("address"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	l.OnClose(func() { _ = client.Close() })
	return &Sidecar{Process: p, name: o.Name, Address: p.Say("address"), StateDir: o.StateDir, Devices: pb.NewConnectivityServiceClient(client)}, nil
}

// Name is that of the i-th of so many devices, as programs name them.
func Name(i, of int) string {
	if of > 1 {
		return fmt.Sprintf("%s%04d", DeviceName, i)
	}
	return DeviceName
}

// Connect brings devices online at the broker, with room for so many messages under way; 0 is the sidecar's default.
func (l *Lab) Connect(s *Sidecar, devices, inflight int) error {
	ctx, cancel := context.WithTimeout(l.ctx, 3*time.Minute)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(64)
	for i := range devices {
		name := Name(i, devices)
		all.Go(func() error {
			r := &pb.ConnectRequest{
				Device:   &pb.Device{ProductKey: ProductKey, DeviceName: name},
				Endpoint: &pb.Endpoint{Host: "localhost", Port: uint32(l.Broker.Port)},
				Credential: &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{
					ClientId: s.name + "-" + name, Username: name + "&" + ProductKey, Password: "any",
				}},
				Mqtt: &pb.MqttSettings{MaxInflight: uint32(inflight)},
			}
			if l.Broker.signs {
				r.Credential = &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret}
			}
			_, err := s.Devices.Connect(ctx, r)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("%d devices cannot be connected: %w", devices, err)
	}
	return nil
}

// AwaitOnline waits until so many devices are online.
func (l *Lab) AwaitOnline(s *Sidecar, devices int) error {
	ctx, cancel := context.WithTimeout(l.ctx, 3*time.Minute)
	defer cancel()
	stream, err := s.Devices.Events(ctx, &pb.EventsRequest{})
	if err != nil {
		return err
	}
	online := map[string]bool{}
	for snapshot := true; snapshot || len(online) < devices; {
		e, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("%d of %d devices are online: %w", len(online), devices, err)
		}
		switch what := e.GetEvent().(type) {
		case *pb.EventsResponse_Snapshot:
			for _, d := range what.Snapshot.GetDevices() {
				if d.GetState() == pb.LinkState_LINK_STATE_ONLINE {
					online[d.GetDevice().GetDeviceName()] = true
				}
			}
			snapshot = what.Snapshot.GetMore()
		case *pb.EventsResponse_Online:
			online[e.GetDevice().GetDeviceName()] = true
		case *pb.EventsResponse_EventsLost:
			return errors.New("events were lost, so it is not known how many devices are online")
		case *pb.EventsResponse_Lost:
			delete(online, e.GetDevice().GetDeviceName())
		}
	}
	return nil
}
