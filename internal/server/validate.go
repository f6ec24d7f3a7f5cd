package server

import (
	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// newValidator reads the rules of all requests now, so that the first call is no slower than the others.
func newValidator() (protovalidate.Validator, error) {
	return protovalidate.New(protovalidate.WithMessages(
		&pb.RegisterRequest{}, &pb.ConnectRequest{}, &pb.DisconnectRequest{}, &pb.EventsRequest{},
		&pb.GetDeviceRequest{}, &pb.ListDevicesRequest{}, &pb.ForgetDeviceRequest{},
	))
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
