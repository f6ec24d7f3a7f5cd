package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

type (
	servingStatus = grpc_health_v1.HealthCheckResponse_ServingStatus
	healthStream  = grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
)

const (
	serving        = grpc_health_v1.HealthCheckResponse_SERVING
	notServing     = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	serviceUnknown = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
)

// linkService begins the name under which the health of a device's link is told: "link/PRODUCT_KEY/DEVICE_NAME".
const linkService = "link/"

// unknownServiceError is what Check answers, as NotFound, for a name that means nothing here.
type unknownServiceError struct{ name string }

func (e *unknownServiceError) Error() string {
	return fmt.Sprintf("there is no service %.200q: health is told of %q (the process), %q and %q",
		e.name, "", pb.ConnectivityService_ServiceDesc.ServiceName, linkService+"PRODUCT_KEY/DEVICE_NAME")
}

// health is grpc.health.v1 without a state of its own: of the process it knows that it lives, of links it asks, and for changes
// it follows the events.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	devices  Devices
	events   *event.Log
	policy   *Policy
	stopping <-chan struct{}
}

// Check tells the health of the process, of a service, or of a device's link.
func (h *health) Check(ctx context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	id, isLink, err := h.link(ctx, req.GetService())
	if err != nil {
		return nil, err
	}
	status := serving
	if isLink {
		s, err := h.devices.Device(id)
		if err != nil {
			return nil, about(id, err)
		}
		status = linkHealth(s)
	}
	if h.stops() {
		status = notServing
	}
	return &grpc_health_v1.HealthCheckResponse{Status: status}, nil
}

// Watch tells the health at once and then each change of it. It ends when the sidecar stops.
func (h *health) Watch(req *grpc_health_v1.HealthCheckRequest, stream healthStream) error {
	ctx := stream.Context()
	tell := teller(stream)
	id, isLink, err := h.link(ctx, req.GetService())
	if isLink && err == nil {
		err = h.watchLink(ctx, id, tell)
	} else {
		err = h.watchProcess(ctx, err, tell)
	}
	if errors.Is(err, event.ErrClosed) {
		_ = tell(notServing) // if it cannot be told, the end of the stream tells as much
	}
	return err
}

// teller sends a status unless it is the one that was sent before.
func teller(stream healthStream) func(servingStatus) error {
	last := grpc_health_v1.HealthCheckResponse_UNKNOWN
	return func(status servingStatus) error {
		if status == last {
			return nil
		}
		last = status
		return stream.Send(&grpc_health_v1.HealthCheckResponse{Status: status})
	}
}

// watchProcess tells of the process, which is well until it stops. Of what is unknown (or not the caller's to know) Watch tells
// just that, and goes on: so the protocol wants it.
func (h *health) watchProcess(ctx context.Context, unknown error, tell func(servingStatus) error) error {
	status := serving
	if unknown != nil {
		status = serviceUnknown
	}
	if err := tell(status); err != nil {
		return err
	}
	select {
	case <-h.stopping:
		return event.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watchLink follows the events of a device, which begin with how it stands.
func (h *health) watchLink(ctx context.Context, id device.ID, tell func(servingStatus) error) error {
	reader := h.events.Open(event.Selection{Devices: []device.ID{id}})
	status := serviceUnknown
	for {
		entry, err := reader.Take(ctx)
		if err != nil {
			return err
		}
		if err := tell(linkHealthAfter(&status, entry.Event)); err != nil {
			return err
		}
	}
}

// linkHealthAfter moves a link's health on by one event. What has no bearing on the link leaves it as it is.
func linkHealthAfter(status *servingStatus, e event.Event) servingStatus {
	switch body := e.Body.(type) {
	case event.Snapshot:
		*status = serviceUnknown
		if len(body.Statuses) > 0 {
			*status = linkHealth(body.Statuses[0])
		}
	case event.WentOnline:
		*status = serving
	case event.Attempting, event.Refused, event.AttemptFailed, event.Lost, event.Disconnected:
		*status = notServing
	case event.Registered:
		if *status == serviceUnknown {
			*status = notServing
		}
	case event.Forgotten:
		*status = serviceUnknown
	}
	return *status
}

func linkHealth(s event.Status) servingStatus {
	if s.State == event.Online {
		return serving
	}
	return notServing
}

// link reads the name of a service. The error is one of Check's for a name that means nothing.
func (h *health) link(ctx context.Context, service string) (id device.ID, isLink bool, err error) {
	switch name, found := strings.CutPrefix(service, linkService); {
	case found:
		id, err = device.ParseID(name)
		if err != nil {
			return device.ID{}, false, &unknownServiceError{service}
		}
		if caller := CallerFrom(ctx); !h.policy.permits(caller, "GetDevice", id) {
			return device.ID{}, false, about(id, conn.ErrUnknownDevice) // whether it exists is not this caller's to know
		}
		return id, true, nil
	case service == "", service == pb.ConnectivityService_ServiceDesc.ServiceName:
		return device.ID{}, false, nil
	}
	return device.ID{}, false, &unknownServiceError{service}
}

func (h *health) stops() bool {
	select {
	case <-h.stopping:
		return true
	default:
		return false
	}
}
