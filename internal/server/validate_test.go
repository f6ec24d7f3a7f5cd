package server

import (
	"slices"
	"testing"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// requests are those that clearlyValid knows, each with a device.
func requests(d *pb.Device) []proto.Message {
	return []proto.Message{
		&pb.PublishRequest{Device: d, Message: &pb.OutgoingMessage{Topic: "/a/b", Payload: []byte("x")}},
		&pb.PublishStreamRequest{Device: d, Messages: []*pb.OutgoingMessage{{Id: 1}, {Id: 2}}},
		&pb.GetDeviceRequest{Device: d},
	}
}

// TestTheQuickLookSeesWhatTheRulesSay compares it with the rules for devices of all kinds, near what is allowed.
func TestTheQuickLookSeesWhatTheRulesSay(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}
	thorough := v.(quick).thorough
	near := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9_.:@-]{0,66}`), rapid.StringMatching(`[A-Za-z0-9]{0,22}`), rapid.StringMatching(`[A-Za-z0-9]{0,3}[|&/ \né-][a-z]{0,2}`))
	rapid.Check(t, func(t *rapid.T) {
		d := &pb.Device{ProductKey: near.Draw(t, "product key"), DeviceName: near.Draw(t, "device name")}
		for _, m := range requests(d) {
			if quickly, slowly := clearlyValid(m), thorough.Validate(m) == nil; quickly != slowly {
				t.Fatalf("%T of %v: %v at a glance, %v by the rules", m, d, quickly, slowly)
			}
		}
	})
	for _, m := range requests(nil) {
		if !clearlyValid(m) || thorough.Validate(m) != nil {
			t.Errorf("%T without a device is not valid", m)
		}
	}
	if clearlyValid(&pb.ConnectRequest{}) {
		t.Error("a request with rules of its own passed at a glance")
	}
}

// TestTheQuickLookKnowsAllRules fails when one of these requests is given a rule that it does not look at.
func TestTheQuickLookKnowsAllRules(t *testing.T) {
	var ruled []protoreflect.FullName
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		if proto.HasExtension(m.Options(), validatepb.E_Message) {
			ruled = append(ruled, m.FullName())
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if proto.HasExtension(f.Options(), validatepb.E_Field) {
				ruled = append(ruled, f.FullName())
			}
			if f.Message() != nil {
				walk(f.Message())
			}
		}
		for i := range m.Oneofs().Len() {
			if o := m.Oneofs().Get(i); proto.HasExtension(o.Options(), validatepb.E_Oneof) {
				ruled = append(ruled, o.FullName())
			}
		}
	}
	for _, m := range requests(nil) {
		walk(m.ProtoReflect().Descriptor())
	}
	if want := []protoreflect.FullName{"linkkit_sidecar.v1.Device.product_key", "linkkit_sidecar.v1.Device.device_name"}; !slices.Equal(ruled, want) {
		t.Errorf("the rules are %v, those that are looked at %v", ruled, want)
	}
}
