package server

import (
	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// newValidator reads the rules of all requests now, so that the first call is no slower than the others.
func newValidator() (protovalidate.Validator, error) {
	thorough, err := protovalidate.New(protovalidate.WithMessages(
		&pb.RegisterRequest{}, &pb.ConnectRequest{}, &pb.DisconnectRequest{}, &pb.EventsRequest{},
		&pb.GetDeviceRequest{}, &pb.ListDevicesRequest{}, &pb.ForgetDeviceRequest{},
	))
	return quick{thorough}, err
}

// quick knows at a glance that the requests which apps make thousands of times a second are well formed, and asks the thorough one,
// which reads the rules by reflection, about all others and about what is wrong.
type quick struct{ thorough protovalidate.Validator }

func (q quick) Validate(m proto.Message, options ...protovalidate.ValidationOption) error {
	if len(options) == 0 && clearlyValid(m) {
		return nil
	}
	return q.thorough.Validate(m, options...)
}

// clearlyValid reports whether m is a request whose only rules are those of a device, and its device is fine. A test compares it with
// the rules in the contract.
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

// violations are the rules that the validating interceptor found broken. They never hold what the fields held.
func violations(s *status.Status) []*errdetails.BadRequest_FieldViolation {
	var all []*errdetails.BadRequest_FieldViolation
	for _, detail := range s.Details() {
		found, ok := detail.(*validatepb.Violations)
		if !ok {
			continue
		}
		for _, v := range found.GetViolations() {
			all = append(all, &errdetails.BadRequest_FieldViolation{
				Field: protovalidate.FieldPathString(v.GetField()), Description: v.GetMessage(), Reason: v.GetRuleId(),
			})
		}
	}
	return all
}
