package server

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Devices is what requests become calls of. *conn.Set does it.
type Devices interface {
	Resolve(id device.ID) (device.ID, error)
	Register(ctx context.Context, r conn.RegisterRequest) (credential.Credential, error)
	Connect(ctx context.Context, r conn.ConnectRequest) (event.Status, error)
	Disconnect(ctx context.Context, id device.ID) (event.Status, error)
	Forget(ctx context.Context, id device.ID, force bool) error
	Device(id device.ID) (event.Status, error)
	Devices() []event.Status // in the order of product key and device name
}

const defaultPage = 1000

// service is ConnectivityService. Its methods return Go errors, which the chain makes gRPC statuses of.
type service struct {
	pb.UnimplementedConnectivityServiceServer
	devices Devices
	events  *event.Log
	policy  *Policy
}

func (s *service) Register(ctx context.Context, req *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	id := idFrom(req.GetDevice())
	if err := s.permit(ctx, "Register", id); err != nil {
		return nil, err
	}
	stored, err := s.devices.Register(ctx, registerRequestFrom(req))
	if err != nil {
		return nil, about(id, err)
	}
	return registerResponseTo(id, stored, req.GetRevealCredential()), nil
}

func (s *service) Connect(ctx context.Context, req *pb.ConnectRequest) (*pb.ConnectResponse, error) {
	id, err := s.resolve(ctx, "Connect", req.GetDevice())
	if err != nil {
		return nil, err
	}
	r, err := connectRequestFrom(id, req)
	if err != nil {
		return nil, about(id, err)
	}
	status, err := s.devices.Connect(ctx, r)
	if err != nil {
		return nil, about(id, err)
	}
	return &pb.ConnectResponse{Status: statusTo(status)}, nil
}

func (s *service) Disconnect(ctx context.Context, req *pb.DisconnectRequest) (*pb.DisconnectResponse, error) {
	id, err := s.resolve(ctx, "Disconnect", req.GetDevice())
	if err != nil {
		return nil, err
	}
	status, err := s.devices.Disconnect(ctx, id)
	if err != nil {
		return nil, about(id, err)
	}
	return &pb.DisconnectResponse{Status: statusTo(status)}, nil
}

// Events takes from the log only when the stream has taken what came before: a reader that stands still holds up nobody, and holds
// no more than its place in the log. One whose app no longer reads at all hangs in Send, and is cut off when the sidecar stops.
func (s *service) Events(req *pb.EventsRequest, stream grpc.ServerStreamingServer[pb.EventsResponse]) error {
	ctx := stream.Context()
	selection := selectionFrom(req)
	for _, id := range selection.Devices {
		if err := s.permit(ctx, "Events", id); err != nil {
			return err
		}
	}
	reader := s.events.Open(selection)
	for {
		entry, err := reader.Take(ctx)
		if err != nil {
			return err
		}
		if entry, told := s.redact(ctx, entry); told {
			if err := stream.Send(entryTo(entry)); err != nil {
				return err
			}
		}
	}
}

// redact leaves out of an entry what the policy keeps from the caller. It reports false when nothing is left to tell. What
// concerns the whole sidecar, and so no device, is for everybody who may read events.
func (s *service) redact(ctx context.Context, e event.Entry) (event.Entry, bool) {
	if s.policy == nil {
		return e, true
	}
	if snapshot, ok := e.Event.Body.(event.Snapshot); ok {
		snapshot.Statuses = s.permitted(ctx, "Events", snapshot.Statuses)
		e.Event.Body = snapshot
		return e, true
	}
	return e, e.Event.Device.IsZero() || s.policy.permits(CallerFrom(ctx), "Events", e.Event.Device)
}

func (s *service) GetDevice(ctx context.Context, req *pb.GetDeviceRequest) (*pb.GetDeviceResponse, error) {
	id, err := s.resolve(ctx, "GetDevice", req.GetDevice())
	if err != nil {
		return nil, err
	}
	status, err := s.devices.Device(id)
	if err != nil {
		return nil, about(id, err)
	}
	return &pb.GetDeviceResponse{Status: statusTo(status)}, nil
}

// ListDevices has the last device of a page as the token for the next, so that devices that come and go between two pages make
// none of the others appear twice or not at all.
func (s *service) ListDevices(ctx context.Context, req *pb.ListDevicesRequest) (*pb.ListDevicesResponse, error) {
	all := s.permitted(ctx, "ListDevices", s.devices.Devices())
	if token := req.GetPageToken(); token != "" {
		last, err := device.ParseID(token)
		if err != nil {
			return nil, &platform.FieldError{Field: "page_token", Problem: "must be the next_page_token of an answer before, or empty for the first page"}
		}
		start, found := slices.BinarySearchFunc(all, last, func(s event.Status, id device.ID) int {
			return cmp.Or(cmp.Compare(s.Device.ProductKey, id.ProductKey), cmp.Compare(s.Device.DeviceName, id.DeviceName))
		})
		if found {
			start++
		}
		all = all[start:]
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	response := &pb.ListDevicesResponse{}
	for _, status := range all[:min(size, len(all))] {
		response.Devices = append(response.Devices, statusTo(status))
	}
	if len(all) > size {
		response.NextPageToken = all[size-1].Device.String()
	}
	return response, nil
}

func (s *service) ForgetDevice(ctx context.Context, req *pb.ForgetDeviceRequest) (*pb.ForgetDeviceResponse, error) {
	id := idFrom(req.GetDevice())
	if err := s.permit(ctx, "ForgetDevice", id); err != nil {
		return nil, err
	}
	if err := s.devices.Forget(ctx, id, req.GetForce()); err != nil {
		return nil, about(id, err)
	}
	return &pb.ForgetDeviceResponse{}, nil
}

// resolve names the device that a request means, and makes sure that the caller may do the operation with it. Where a policy
// is in force, a device that is left out is the only one that the caller may do it with.
func (s *service) resolve(ctx context.Context, operation string, named *pb.Device) (device.ID, error) {
	if named == nil && s.policy != nil {
		permitted := s.permitted(ctx, operation, s.devices.Devices())
		if len(permitted) != 1 {
			return device.ID{}, conn.ErrAmbiguousDevice
		}
		return permitted[0].Device, nil
	}
	id, err := s.devices.Resolve(idFrom(named))
	if err != nil {
		return device.ID{}, err
	}
	return id, s.permit(ctx, operation, id)
}

// permit is nil, or a *notPermitted.
func (s *service) permit(ctx context.Context, operation string, id device.ID) error {
	if caller := CallerFrom(ctx); !s.policy.permits(caller, operation, id) {
		return &notPermitted{caller: caller, operation: operation, device: id}
	}
	return nil
}

// permitted are the statuses of those devices that the caller may do the operation with.
func (s *service) permitted(ctx context.Context, operation string, all []event.Status) []event.Status {
	if s.policy == nil {
		return all
	}
	caller := CallerFrom(ctx)
	var some []event.Status
	for _, status := range all {
		if s.policy.permits(caller, operation, status.Device) {
			some = append(some, status)
		}
	}
	return some
}
