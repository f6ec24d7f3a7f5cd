package server

import (
	"context"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// invalidError is that a request breaks rules of the contract.
type invalidError struct {
	violations []*errdetails.BadRequest_FieldViolation
}

func (e *invalidError) Error() string {
	problems := make([]string, len(e.violations))
	for i, v := range e.violations {
		problems[i] = strings.TrimPrefix(v.GetField()+": "+v.GetDescription(), ": ")
	}
	return "the request cannot be taken: " + strings.Join(problems, "; ")
}

// validate holds a request to the rules of the contract. The error is an *invalidError, unless the contract cannot be read.
func validate(request any) error {
	m, ok := request.(proto.Message)
	if !ok || clearlyValid(m) {
		return nil
	}
	all, err := contract()
	if err != nil {
		return err
	}
	r := all[m.ProtoReflect().Descriptor().FullName()]
	if r == nil { // of another service: health, reflection
		return nil
	}
	if broken := r.broken(m.ProtoReflect()); len(broken) > 0 {
		return &invalidError{broken}
	}
	return nil
}

func validateUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := validate(req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func validateStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, validatedStream{stream})
}

// validatedStream holds each request of a stream to the rules.
type validatedStream struct{ grpc.ServerStream }

func (s validatedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return validate(m)
}

// clearlyValid knows at a glance the requests which apps make thousands of times a second, whose only rules are those of a device: it
// reports whether m is one, and its device is fine. A test compares it with the rules.
func clearlyValid(m proto.Message) bool {
	var d *pb.Device
	switch m := m.(type) {
	case *pb.PublishRequest:
		d = m.GetDevice()
	case *pb.PublishStreamRequest:
		d = m.GetDevice()
	case *pb.GetDeviceRequest:
		d = m.GetDevice()
	default:
		return false
	}
	return d == nil || idFrom(d).Validate() == nil
}
