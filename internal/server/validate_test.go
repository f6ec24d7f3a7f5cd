package server

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"pgregory.net/rapid"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// requests are one of each type of the contract.
func requests(t *testing.T) (all []proto.Message) {
	t.Helper()
	for _, file := range []protoreflect.FileDescriptor{pb.File_linkkit_sidecar_v1_connectivity_proto, pb.File_linkkit_sidecar_v1_messaging_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				kind, err := protoregistry.GlobalTypes.FindMessageByName(methods.Get(j).Input().FullName())
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, kind.New().Interface())
			}
		}
	}
	return all
}

// told is what is wrong with a request by protovalidate.
func told(t rapid.TB, m proto.Message) (all []string) {
	t.Helper()
	err := protovalidate.Validate(m)
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if ok {
		for _, v := range invalid.Violations {
			all = append(all, fmt.Sprint(protovalidate.FieldPathString(v.Proto.GetField()), " ", v.Proto.GetRuleId(), " ", v.Proto.GetMessage()))
		}
	}
	return all
}

func toldByUs(violations []*errdetails.BadRequest_FieldViolation) (all []string) {
	for _, v := range violations {
		all = append(all, fmt.Sprint(v.GetField(), " ", v.GetReason(), " ", v.GetDescription()))
	}
	return all
}

// TestWhatIsWrongIsWhatProtovalidateFinds compares all that is found wrong with requests of every type, whose values are near the rules.
func TestWhatIsWrongIsWhatProtovalidateFinds(t *testing.T) {
	for _, request := range requests(t) {
		name := request.ProtoReflect().Descriptor().Name()
		t.Run(string(name), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := request.ProtoReflect().New()
				fill(t, m)
				var ours []string
				if invalid, ok := errors.AsType[*invalidError](validate(m.Interface())); ok {
					ours = toldByUs(invalid.violations)
				}
				if theirs := told(t, m.Interface()); !slices.Equal(ours, theirs) {
					t.Fatalf("%v:\n%q by us\n%q by protovalidate", m.Interface(), ours, theirs)
				}
			})
		})
	}
}

// TestTheBoundsOfTheWaitAreInOrderWithTheirDefaults: of what the expressions say, chance rarely finds where they change their mind.
func TestTheBoundsOfTheWaitAreInOrderWithTheirDefaults(t *testing.T) {
	for _, least := range []uint32{0, 1, 2, 59, 60, 61} {
		for _, most := range []uint32{0, 1, 2, 59, 60, 61} {
			r := &pb.ReconnectSettings{MinDelay: least, MaxDelay: most}
			ours, theirs := expressions["reconnect.order"](r), protovalidate.Validate(r) == nil
			if ours != theirs {
				t.Errorf("%v: in order is %v by us, %v by protovalidate", r, ours, theirs)
			}
		}
	}
}

// TestTheQuickLookSeesWhatTheRulesSay: a request that is clearly valid is valid, and one that is not has something wrong with its device.
func TestTheQuickLookSeesWhatTheRulesSay(t *testing.T) {
	all, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []proto.Message{&pb.PublishRequest{}, &pb.PublishStreamRequest{}, &pb.GetDeviceRequest{}} {
		rapid.Check(t, func(t *rapid.T) {
			m := request.ProtoReflect().New()
			fill(t, m)
			slowly := all[m.Descriptor().FullName()].broken(m)
			if quickly := clearlyValid(m.Interface()); quickly != (len(slowly) == 0) {
				t.Fatalf("%v: %v at a glance, %q by the rules", m.Interface(), quickly, toldByUs(slowly))
			}
		})
	}
}

// fill sets some of a message's fields, to values that a rule of the field may or may not like.
func fill(t *rapid.T, m protoreflect.Message) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if rapid.IntRange(0, 3).Draw(t, "is set") == 0 {
			continue
		}
		rules, _ := proto.GetExtension(f.Options(), validatepb.E_Field).(*validatepb.FieldRules)
		if !f.IsList() {
			m.Set(f, value(t, f, rules, m.NewField(f)))
			continue
		}
		n := rapid.IntRange(0, 3).Draw(t, "length")
		if most := rules.GetRepeated().GetMaxItems(); most > 0 && most < 100 && rapid.Bool().Draw(t, "is long") {
			n = int(most) + rapid.IntRange(0, 1).Draw(t, "beyond")
		}
		for range n {
			list := m.Mutable(f).List()
			list.Append(value(t, f, rules.GetRepeated().GetItems(), list.NewElement()))
		}
	}
}

func value(t *rapid.T, f protoreflect.FieldDescriptor, rules *validatepb.FieldRules, empty protoreflect.Value) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind:
		fill(t, empty.Message())
		return empty
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text(t, rules.GetString()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(rapid.SampledFrom([]protoreflect.EnumNumber{-1, 0, 1, 2, 3, 4, 99}).Draw(t, "enum"))
	case protoreflect.Uint32Kind:
		near := []uint32{0, 1, 59, 60, 61, 1 << 31}
		for _, bound := range []uint32{rules.GetUint32().GetGte(), rules.GetUint32().GetLte()} {
			near = append(near, bound-1, bound, bound+1)
		}
		return protoreflect.ValueOfUint32(rapid.SampledFrom(near).Draw(t, "number"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	default:
		t.Fatalf("%s is of a kind that this test cannot fill: %s", f.FullName(), f.Kind())
		return empty
	}
}

// text is one as the pattern has it, or nearly, or one as long as is permitted, or longer.
func text(t *rapid.T, rules *validatepb.StringRules) string {
	near := []*rapid.Generator[string]{rapid.StringMatching(`[A-Za-z0-9]{0,3}[|&/ \né-][a-z]{0,2}`), rapid.StringMatching(`[A-Za-z0-9_.:@-]{0,66}`)}
	if most := int(rules.GetMaxLen()); most > 0 {
		near = append(near, rapid.Map(rapid.IntRange(most-1, most+1), func(n int) string { return strings.Repeat("é", n) }))
	}
	if pattern := rules.GetPattern(); pattern != "" {
		near = append(near, rapid.StringMatching(pattern), rapid.Map(rapid.StringMatching(pattern), func(s string) string { return s + "0" }))
	}
	return rapid.OneOf(near...).Draw(t, "text")
}

// TestAnUnknownRuleIsAnError puts other rules into the contract.
func TestAnUnknownRuleIsAnError(t *testing.T) {
	for what, change := range map[string]func(m *descriptorpb.DescriptorProto, f *descriptorpb.FieldDescriptorProto){
		"linkkit_sidecar.v1.ListDevicesRequest.page_token has rules that are not obeyed yet: buf.validate.StringRules.prefix": func(_ *descriptorpb.DescriptorProto, f *descriptorpb.FieldDescriptorProto) {
			proto.SetExtension(f.GetOptions(), validatepb.E_Field, &validatepb.FieldRules{Type: &validatepb.FieldRules_String_{String_: &validatepb.StringRules{Prefix: new("p")}}})
		},
		"linkkit_sidecar.v1.ListDevicesRequest.page_token has rules that are not obeyed yet: buf.validate.FieldRules.ignore": func(_ *descriptorpb.DescriptorProto, f *descriptorpb.FieldDescriptorProto) {
			proto.SetExtension(f.GetOptions(), validatepb.E_Field, &validatepb.FieldRules{Ignore: validatepb.Ignore_IGNORE_ALWAYS.Enum()})
		},
		"linkkit_sidecar.v1.ListDevicesRequest has rules that are not obeyed yet: new.rule": func(m *descriptorpb.DescriptorProto, _ *descriptorpb.FieldDescriptorProto) {
			m.Options = &descriptorpb.MessageOptions{}
			proto.SetExtension(m.GetOptions(), validatepb.E_Message, &validatepb.MessageRules{Cel: []*validatepb.Rule{{Id: new("new.rule")}}})
		},
		"linkkit_sidecar.v1.ListDevicesRequest has rules that are not obeyed yet: buf.validate.MessageRules.oneof": func(m *descriptorpb.DescriptorProto, _ *descriptorpb.FieldDescriptorProto) {
			m.Options = &descriptorpb.MessageOptions{}
			proto.SetExtension(m.GetOptions(), validatepb.E_Message, &validatepb.MessageRules{Oneof: []*validatepb.MessageOneofRule{{Fields: []string{"page_size"}}}})
		},
	} {
		file := protodesc.ToFileDescriptorProto(pb.File_linkkit_sidecar_v1_connectivity_proto)
		m := file.GetMessageType()[slices.IndexFunc(file.GetMessageType(), func(m *descriptorpb.DescriptorProto) bool { return m.GetName() == "ListDevicesRequest" })]
		change(m, m.GetField()[1])
		changed, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readContract(changed); err == nil || err.Error() != what {
			t.Errorf("%v, want %q", err, what)
		}
	}
}

// TestPatternsAreRegularExpressions: they are compiled when they are first asked.
func TestPatternsAreRegularExpressions(t *testing.T) {
	all, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range all {
		for _, f := range r.fields {
			rules, _ := proto.GetExtension(f.field.Options(), validatepb.E_Field).(*validatepb.FieldRules)
			if pattern := rules.GetString().GetPattern(); pattern != "" {
				seen++
				if _, err := regexp.Compile(pattern); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("there is none")
	}
}
