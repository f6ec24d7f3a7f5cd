package sandbox

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// console is the gRPC SandboxService. It only translates.
type console struct {
	sandboxv1.UnimplementedSandboxServiceServer
	cloud *cloud
}

// Service is the console, for a caller in the same process.
func (s *Sandbox) Service() sandboxv1.SandboxServiceServer { return console{cloud: s.cloud} }

// serveControl serves the console, its reflection and its health until ctx ends.
func (s *Sandbox) serveControl(ctx context.Context) error {
	recovered := recovery.WithRecoveryHandler(func(problem any) error {
		s.cloud.log.Error("a call of the console panicked", "panic", problem, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the sandbox has a bug; its log says more")
	})
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(recovery.UnaryServerInterceptor(recovered)),
		grpc.ChainStreamInterceptor(recovery.StreamServerInterceptor(recovered)),
	)
	sandboxv1.RegisterSandboxServiceServer(server, s.Service())
	health := health.NewServer()
	health.SetServingStatus(sandboxv1.SandboxService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, health)
	reflection.Register(server)

	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		health.Shutdown()
		hurry := time.AfterFunc(farewell, server.Stop) // who watches the health never leaves
		defer hurry.Stop()
		server.GracefulStop()
	})
	err := server.Serve(s.control)
	if stop() { // it ended by itself
		return err
	}
	<-stopped
	return nil
}

// toStatus is the only place where an error becomes a gRPC status.
func toStatus(err error) error {
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotFound):
		code = codes.NotFound
	case errors.Is(err, errExists):
		code = codes.AlreadyExists
	case errors.Is(err, errInvalid):
		code = codes.InvalidArgument
	case errors.Is(err, errQueueFull):
		code = codes.ResourceExhausted
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}

func idOf(d *sandboxv1.Device) device.ID {
	return device.ID{ProductKey: d.GetProductKey(), DeviceName: d.GetDeviceName()}
}

func toDevice(id device.ID) *sandboxv1.Device {
	if id.IsZero() {
		return nil
	}
	return &sandboxv1.Device{ProductKey: id.ProductKey, DeviceName: id.DeviceName}
}

// CreateProduct makes a product.
func (s console) CreateProduct(_ context.Context, r *sandboxv1.CreateProductRequest) (*sandboxv1.CreateProductResponse, error) {
	p, err := s.cloud.createProduct(r.GetProductKey(), device.NewSecret(r.GetProductSecret()), r.GetDynamicRegistration())
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.CreateProductResponse{ProductKey: p.key, ProductSecret: p.secret.Reveal()}, nil
}

// CreateDevice makes a device.
func (s console) CreateDevice(_ context.Context, r *sandboxv1.CreateDeviceRequest) (*sandboxv1.CreateDeviceResponse, error) {
	id := idOf(r.GetDevice())
	secret, err := s.cloud.createDevice(id, device.NewSecret(r.GetDeviceSecret()), r.GetGenerateSecret())
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.CreateDeviceResponse{Device: toDevice(id), DeviceSecret: secret.Reveal()}, nil
}

// ListDevices tells of all devices.
func (s console) ListDevices(_ context.Context, r *sandboxv1.ListDevicesRequest) (*sandboxv1.ListDevicesResponse, error) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	var all []*sandboxv1.DeviceStatus
	for _, p := range s.cloud.products {
		if want := r.GetProductKey(); want != "" && want != p.key {
			continue
		}
		for _, t := range p.devices {
			all = append(all, t.status(r.GetRevealSecrets()))
		}
	}
	if key := r.GetProductKey(); key != "" && s.cloud.products[key] == nil {
		return nil, status.Errorf(codes.NotFound, "the product %.64q does not exist", key)
	}
	slices.SortFunc(all, func(a, b *sandboxv1.DeviceStatus) int {
		return cmp.Or(
			strings.Compare(a.GetDevice().GetProductKey(), b.GetDevice().GetProductKey()),
			strings.Compare(a.GetDevice().GetDeviceName(), b.GetDevice().GetDeviceName()))
	})
	return &sandboxv1.ListDevicesResponse{Devices: all}, nil
}

func (t *thing) status(reveal bool) *sandboxv1.DeviceStatus {
	s := &sandboxv1.DeviceStatus{
		Device: toDevice(t.id), State: sandboxv1.DeviceState_DEVICE_STATE_ENABLED,
		Activated: t.activated, Online: t.link != nil, Logins: t.logins, HasSecret: !t.secret.IsZero(),
		MessagesDropped: t.dropped, MessagesOverRate: t.overRate,
	}
	if t.disabled {
		s.State = sandboxv1.DeviceState_DEVICE_STATE_DISABLED
	}
	if t.link != nil {
		s.ConnectionId = t.link.number
	}
	if t.session != nil {
		s.SessionLasts = t.session.lasting()
		unacked, waiting := t.session.backlog()
		s.MessagesUnacknowledged, s.MessagesQueued = uint32(unacked), uint32(waiting)
	}
	if !t.lastConnect.IsZero() {
		s.LastConnectTime = timestamppb.New(t.lastConnect)
	}
	if reveal {
		s.DeviceSecret = t.secret.Reveal()
		for _, given := range t.tokens {
			s.DeviceTokens = append(s.DeviceTokens, &sandboxv1.DeviceToken{ClientId: given.clientID, Token: given.secret.Reveal()})
		}
	}
	return s
}

// KickDevice closes a device's link.
func (s console) KickDevice(_ context.Context, r *sandboxv1.KickDeviceRequest) (*sandboxv1.KickDeviceResponse, error) {
	wasOnline, err := s.cloud.change(idOf(r.GetDevice()), "kicked by the console", func(*thing) {})
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.KickDeviceResponse{WasOnline: wasOnline}, nil
}

// DisableDevice refuses a device's logins.
func (s console) DisableDevice(_ context.Context, r *sandboxv1.DisableDeviceRequest) (*sandboxv1.DisableDeviceResponse, error) {
	_, err := s.cloud.change(idOf(r.GetDevice()), "the device was disabled", func(t *thing) { t.disabled = true })
	return &sandboxv1.DisableDeviceResponse{}, toStatus(err)
}

// EnableDevice takes a device's logins again.
func (s console) EnableDevice(_ context.Context, r *sandboxv1.EnableDeviceRequest) (*sandboxv1.EnableDeviceResponse, error) {
	_, err := s.cloud.change(idOf(r.GetDevice()), "", func(t *thing) { t.disabled = false })
	return &sandboxv1.EnableDeviceResponse{}, toStatus(err)
}

// DeleteDevice forgets a device.
func (s console) DeleteDevice(_ context.Context, r *sandboxv1.DeleteDeviceRequest) (*sandboxv1.DeleteDeviceResponse, error) {
	_, err := s.cloud.change(idOf(r.GetDevice()), "the device was deleted", func(t *thing) {
		delete(s.cloud.products[t.id.ProductKey].devices, t.id.DeviceName)
	})
	return &sandboxv1.DeleteDeviceResponse{}, toStatus(err)
}

// ResetDevice lets a device register again.
func (s console) ResetDevice(_ context.Context, r *sandboxv1.ResetDeviceRequest) (*sandboxv1.ResetDeviceResponse, error) {
	_, err := s.cloud.change(idOf(r.GetDevice()), "the device was reset", func(t *thing) {
		t.activated, t.secret, t.tokens = false, device.Secret{}, nil
	})
	return &sandboxv1.ResetDeviceResponse{}, toStatus(err)
}

// PublishDownstream sends a message to a device.
func (s console) PublishDownstream(_ context.Context, r *sandboxv1.PublishDownstreamRequest) (*sandboxv1.PublishDownstreamResponse, error) {
	id := idOf(r.GetDevice())
	switch {
	case r.GetQos() > 1:
		return nil, status.Errorf(codes.InvalidArgument, "qos must be 0 or 1, not %d", r.GetQos())
	case len(r.GetPayload()) > platform.MaxPayloadBytes:
		return nil, status.Errorf(codes.InvalidArgument, "payload has %d bytes; the platform takes %d", len(r.GetPayload()), platform.MaxPayloadBytes)
	case strings.ContainsAny(r.GetTopic(), "+#"):
		return nil, status.Error(codes.InvalidArgument, `topic holds a wildcard, "+" or "#"; those are for subscribing`)
	}
	if _, err := s.cloud.linkOf(id); err != nil {
		return nil, toStatus(err)
	}
	// A filter without wildcards is a topic on which a device may be sent something.
	if wrong, ok := errors.AsType[*platform.FieldError](platform.ValidateFilter(id, r.GetTopic())); ok {
		return nil, status.Error(codes.InvalidArgument, "topic: "+wrong.Problem)
	}
	became, err := s.cloud.deliver(id, message{topic: r.GetTopic(), payload: r.GetPayload(), qos: byte(r.GetQos())})
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.PublishDownstreamResponse{Delivery: toDelivery(became)}, nil
}

func toDelivery(d delivery) sandboxv1.Delivery {
	switch d {
	case sent:
		return sandboxv1.Delivery_DELIVERY_SENT
	case queued:
		return sandboxv1.Delivery_DELIVERY_QUEUED
	case notSubscribed:
		return sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED
	case offline:
		return sandboxv1.Delivery_DELIVERY_OFFLINE
	}
	return sandboxv1.Delivery_DELIVERY_UNSPECIFIED
}

// CallDevice does an RRPC.
func (s console) CallDevice(ctx context.Context, r *sandboxv1.CallDeviceRequest) (*sandboxv1.CallDeviceResponse, error) {
	timeout := defaultCallTimeout
	if r.GetTimeout() != nil {
		timeout = r.GetTimeout().AsDuration()
		if r.GetTimeout().CheckValid() != nil || timeout <= 0 || timeout > platform.RRPCDeadline {
			return nil, status.Errorf(codes.InvalidArgument, "timeout must be more than 0 and at most %s", platform.RRPCDeadline)
		}
	}
	switch topic := r.GetTopic(); {
	case len(r.GetPayload()) > platform.MaxPayloadBytes:
		return nil, status.Errorf(codes.InvalidArgument, "payload has %d bytes; the platform takes %d", len(r.GetPayload()), platform.MaxPayloadBytes)
	case topic != "" && !strings.HasPrefix(topic, "/"):
		return nil, status.Error(codes.InvalidArgument, `topic must begin with "/"`)
	}
	became, err := s.cloud.call(ctx, idOf(r.GetDevice()), r.GetTopic(), r.GetPayload(), timeout)
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.CallDeviceResponse{CallId: became.id, Outcome: toOutcome(became.outcome), Payload: became.payload}, nil
}

func toOutcome(o outcome) sandboxv1.CallOutcome {
	switch o {
	case answered:
		return sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED
	case timedOut:
		return sandboxv1.CallOutcome_CALL_OUTCOME_TIMEOUT
	case calledOffline:
		return sandboxv1.CallOutcome_CALL_OUTCOME_OFFLINE
	case calledUnsubscribed:
		return sandboxv1.CallOutcome_CALL_OUTCOME_NOT_SUBSCRIBED
	}
	return sandboxv1.CallOutcome_CALL_OUTCOME_UNSPECIFIED
}

// ListMessages tells what a device published.
func (s console) ListMessages(_ context.Context, r *sandboxv1.ListMessagesRequest) (*sandboxv1.ListMessagesResponse, error) {
	if problem := validateTopicFilter(r.GetTopicFilter()); problem != "" {
		return nil, status.Error(codes.InvalidArgument, "topic_filter "+problem)
	}
	kept := s.cloud.options.KeepMessages
	wanted := query{after: r.GetAfterNumber(), filter: r.GetTopicFilter(), newest: int(r.GetLimit())}
	var found page
	_, err := s.cloud.change(idOf(r.GetDevice()), "", func(t *thing) { found = wanted.find(&t.messages, kept) })
	if err != nil {
		return nil, toStatus(err)
	}
	return &sandboxv1.ListMessagesResponse{Messages: found.messages, More: found.more}, nil
}

// ListLogins tells of every CONNECT.
func (s console) ListLogins(_ context.Context, r *sandboxv1.ListLoginsRequest) (*sandboxv1.ListLoginsResponse, error) {
	id := idOf(r.GetDevice())
	if r.GetDevice() != nil {
		if err := id.Validate(); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	var all []loginRecord
	s.cloud.mu.Lock()
	for name, h := range s.cloud.logins {
		if r.GetDevice() == nil || name == id {
			all = append(all, h.last(keptLogins)...)
		}
	}
	s.cloud.mu.Unlock()
	slices.SortFunc(all, func(a, b loginRecord) int { return cmp.Compare(a.number, b.number) })
	response := &sandboxv1.ListLoginsResponse{}
	for _, l := range all {
		login := &sandboxv1.Login{
			Device: toDevice(l.id), ReceiveTime: timestamppb.New(l.received), ClientId: l.clientID,
			Tls: l.tls, TlsServerName: l.serverName, Reason: l.reason, RemoteAddress: l.remoteAddress,
		}
		if l.answered {
			code := uint32(l.code)
			login.ConnackCode = &code
		}
		response.Logins = append(response.Logins, login)
	}
	return response, nil
}

// SetFault makes coming connections misbehave.
func (s console) SetFault(_ context.Context, r *sandboxv1.SetFaultRequest) (*sandboxv1.SetFaultResponse, error) {
	f := r.GetFault()
	set, err := fromFault(f)
	if err != nil {
		return nil, err
	}
	if f.GetDevice() != nil {
		if err := set.id.Validate(); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	s.cloud.setFault(set)
	return &sandboxv1.SetFaultResponse{}, nil
}

// ClearFaults takes faults away.
func (s console) ClearFaults(_ context.Context, r *sandboxv1.ClearFaultsRequest) (*sandboxv1.ClearFaultsResponse, error) {
	id := idOf(r.GetDevice())
	if r.GetDevice() != nil {
		if err := id.Validate(); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return &sandboxv1.ClearFaultsResponse{Cleared: uint32(s.cloud.clearFaults(id))}, nil
}

// ListFaults tells which faults are set.
func (s console) ListFaults(context.Context, *sandboxv1.ListFaultsRequest) (*sandboxv1.ListFaultsResponse, error) {
	response := &sandboxv1.ListFaultsResponse{}
	for _, f := range s.cloud.listFaults() {
		response.Faults = append(response.Faults, toFault(f))
	}
	return response, nil
}

func fromFault(f *sandboxv1.Fault) (fault, error) {
	set := fault{id: idOf(f.GetDevice()), left: f.GetConnections()}
	only := func(value bool, kind faultKind) string {
		set.kind = kind
		if !value {
			return "only true has a meaning; ClearFaults takes a fault away"
		}
		return ""
	}
	problem := ""
	switch e := f.GetEffect().(type) {
	case *sandboxv1.Fault_RefuseCode:
		set.kind, set.effects.refuseCode = faultRefuse, byte(e.RefuseCode)
		if e.RefuseCode < 1 || e.RefuseCode > 255 {
			problem = "refuse_code must be 1 to 255"
		}
	case *sandboxv1.Fault_Delay:
		set.kind, set.effects.delay = faultDelay, e.Delay.AsDuration()
		if e.Delay.CheckValid() != nil || set.effects.delay <= 0 || set.effects.delay > maxDelay {
			problem = "delay must be more than 0 and at most 10 minutes"
		}
	case *sandboxv1.Fault_CutAfterBytes:
		set.kind, set.effects.cutAfter = faultCut, e.CutAfterBytes
		if e.CutAfterBytes == 0 {
			problem = "cut_after_bytes must be 1 or more"
		}
	case *sandboxv1.Fault_SwallowPingresp:
		set.effects.swallowPingresp = true
		problem = only(e.SwallowPingresp, faultPingresp)
	case *sandboxv1.Fault_SwallowPuback:
		set.effects.swallowPuback = true
		problem = only(e.SwallowPuback, faultPuback)
	case *sandboxv1.Fault_NoConnack:
		set.effects.noConnack = true
		problem = only(e.NoConnack, faultNoConnack)
	case *sandboxv1.Fault_Duplicate:
		set.effects.duplicate = true
		problem = only(e.Duplicate, faultDuplicate)
	case *sandboxv1.Fault_Reorder:
		set.effects.reorder = true
		problem = only(e.Reorder, faultReorder)
	case *sandboxv1.Fault_CutPublishAfterBytes:
		set.kind, set.effects.cutPublish = faultCutPublish, e.CutPublishAfterBytes
		if e.CutPublishAfterBytes == 0 {
			problem = "cut_publish_after_bytes must be 1 or more"
		}
	case *sandboxv1.Fault_CutReceivedAfterBytes:
		set.kind, set.effects.cutReceived = faultCutReceived, e.CutReceivedAfterBytes
		if e.CutReceivedAfterBytes == 0 {
			problem = "cut_received_after_bytes must be 1 or more"
		}
	case *sandboxv1.Fault_CutPubackMissingBytes:
		set.kind, set.effects.cutPuback = faultCutPuback, e.CutPubackMissingBytes
		if e.CutPubackMissingBytes < 1 || e.CutPubackMissingBytes > pubackBytes {
			problem = "cut_puback_missing_bytes must be 1 to 4"
		}
	default:
		problem = "the fault has no effect: give one of refuse_code, delay, cut_after_bytes, swallow_pingresp, swallow_puback, no_connack, " +
			"duplicate, reorder, cut_publish_after_bytes, cut_received_after_bytes, cut_puback_missing_bytes"
	}
	if problem != "" {
		return fault{}, status.Error(codes.InvalidArgument, problem)
	}
	return set, nil
}

func toFault(f fault) *sandboxv1.Fault {
	told := &sandboxv1.Fault{Device: toDevice(f.id), Connections: f.left}
	switch f.kind {
	case faultRefuse:
		told.Effect = &sandboxv1.Fault_RefuseCode{RefuseCode: uint32(f.effects.refuseCode)}
	case faultDelay:
		told.Effect = &sandboxv1.Fault_Delay{Delay: durationpb.New(f.effects.delay)}
	case faultCut:
		told.Effect = &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: f.effects.cutAfter}
	case faultPingresp:
		told.Effect = &sandboxv1.Fault_SwallowPingresp{SwallowPingresp: true}
	case faultPuback:
		told.Effect = &sandboxv1.Fault_SwallowPuback{SwallowPuback: true}
	case faultNoConnack:
		told.Effect = &sandboxv1.Fault_NoConnack{NoConnack: true}
	case faultDuplicate:
		told.Effect = &sandboxv1.Fault_Duplicate{Duplicate: true}
	case faultReorder:
		told.Effect = &sandboxv1.Fault_Reorder{Reorder: true}
	case faultCutPublish:
		told.Effect = &sandboxv1.Fault_CutPublishAfterBytes{CutPublishAfterBytes: f.effects.cutPublish}
	case faultCutReceived:
		told.Effect = &sandboxv1.Fault_CutReceivedAfterBytes{CutReceivedAfterBytes: f.effects.cutReceived}
	case faultCutPuback:
		told.Effect = &sandboxv1.Fault_CutPubackMissingBytes{CutPubackMissingBytes: f.effects.cutPuback}
	case faultKinds: // no kind at all
	}
	return told
}
