package server

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"unicode/utf8"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// contract is the rules of all requests by the names of their types. What is not in it is no request of ours.
var contract = sync.OnceValues(func() (map[protoreflect.FullName]*rules, error) {
	return readContract(pb.File_linkkit_sidecar_v1_connectivity_proto, pb.File_linkkit_sidecar_v1_messaging_proto)
})

// readContract reads the rules of all requests of the services in files. It is an error that one has a rule of a kind that is not
// known here: none is passed over.
func readContract(files ...protoreflect.FileDescriptor) (map[protoreflect.FullName]*rules, error) {
	r := reader{read: map[protoreflect.FullName]*rules{}}
	for _, file := range files {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				r.message(methods.Get(j).Input())
			}
		}
	}
	return r.read, errors.Join(r.unknown...)
}

// known are the annotations that reader reads, without those that hold others.
var known = map[protoreflect.FullName]bool{
	"buf.validate.MessageRules.cel":        true, // those that are in expressions
	"buf.validate.OneofRules.required":     true,
	"buf.validate.FieldRules.required":     true,
	"buf.validate.StringRules.min_len":     true,
	"buf.validate.StringRules.max_len":     true,
	"buf.validate.StringRules.pattern":     true,
	"buf.validate.UInt32Rules.lte":         true,
	"buf.validate.UInt32Rules.gte":         true,
	"buf.validate.EnumRules.defined_only":  true,
	"buf.validate.EnumRules.not_in":        true,
	"buf.validate.RepeatedRules.max_items": true,
}

// expressions are the rules that are written in CEL, by their ids.
var expressions = map[string]func(m proto.Message) bool{
	"reconnect.order": func(m proto.Message) bool {
		r, _ := m.(*pb.ReconnectSettings)
		return cmp.Or(r.GetMinDelay(), 1) <= cmp.Or(r.GetMaxDelay(), 60)
	},
}

// reader reads annotations.
type reader struct {
	read    map[protoreflect.FullName]*rules
	unknown []error
}

// message reads the rules of a type and of the types that it holds.
func (r *reader) message(d protoreflect.MessageDescriptor) *rules {
	if m := r.read[d.FullName()]; m != nil {
		return m
	}
	m := &rules{}
	r.read[d.FullName()] = m
	demands := annotation[*validatepb.MessageRules](d, validatepb.E_Message)
	r.look(d, demands.ProtoReflect())
	for _, c := range demands.GetCel() {
		holds := expressions[c.GetId()]
		if holds == nil {
			r.isUnknown(d, c.GetId())
		}
		m.whole = append(m.whole, demand{c.GetId(), c.GetMessage(), func(v protoreflect.Value) bool { return holds(v.Message().Interface()) }})
	}
	for i := range d.Oneofs().Len() {
		o := d.Oneofs().Get(i)
		demands := annotation[*validatepb.OneofRules](o, validatepb.E_Oneof)
		r.look(o, demands.ProtoReflect())
		if demands.GetRequired() {
			m.oneofs = append(m.oneofs, o)
		}
	}
	for i := range d.Fields().Len() {
		if f := r.field(d.Fields().Get(i)); f.required || f.inside != nil || len(f.value)+len(f.items) > 0 {
			m.fields = append(m.fields, f)
		}
	}
	return m
}

func (r *reader) field(d protoreflect.FieldDescriptor) fieldRules {
	demands := annotation[*validatepb.FieldRules](d, validatepb.E_Field)
	r.look(d, demands.ProtoReflect())
	f := fieldRules{field: d, required: demands.GetRequired(), value: values(d, demands), items: values(d, demands.GetRepeated().GetItems())}
	switch {
	case d.IsMap():
		r.isUnknown(d, "those of a map")
	case d.Message() != nil:
		f.inside = r.message(d.Message())
	}
	return f
}

func annotation[T proto.Message](d protoreflect.Descriptor, kind protoreflect.ExtensionType) T {
	found, _ := proto.GetExtension(d.Options(), kind).(T)
	return found
}

// look sees to it that all that is demanded is known.
func (r *reader) look(d protoreflect.Descriptor, demands protoreflect.Message) {
	demands.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case known[f.FullName()]:
		case f.Message() != nil && !f.IsList():
			r.look(d, v.Message())
		default:
			r.isUnknown(d, string(f.FullName()))
		}
		return true
	})
	if len(demands.GetUnknown()) > 0 {
		r.isUnknown(d, "one that is newer than the schema")
	}
}

func (r *reader) isUnknown(d protoreflect.Descriptor, what string) {
	r.unknown = append(r.unknown, fmt.Errorf("%s has rules that are not obeyed yet: %s", d.FullName(), what))
}

// values are the rules of what a field holds, or of the items of a list.
func values(d protoreflect.FieldDescriptor, demands *validatepb.FieldRules) (all []demand) {
	add := func(id, problem string, holds func(v protoreflect.Value) bool) {
		all = append(all, demand{id, problem, holds})
	}
	text, number, enum, list := demands.GetString(), demands.GetUint32(), demands.GetEnum(), demands.GetRepeated()
	if least := text.GetMinLen(); text.HasMinLen() {
		add("string.min_len", fmt.Sprintf("must be at least %d characters", least), func(v protoreflect.Value) bool { return length(v) >= least })
	}
	if most := text.GetMaxLen(); text.HasMaxLen() {
		add("string.max_len", fmt.Sprintf("must be at most %d characters", most), func(v protoreflect.Value) bool { return length(v) <= most })
	}
	if text.HasPattern() {
		pattern := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text.GetPattern()) }) // of most, no value ever comes
		add("string.pattern", "does not match regex pattern `"+text.GetPattern()+"`", func(v protoreflect.Value) bool {
			return pattern().MatchString(v.String())
		})
	}
	switch least, most := uint64(number.GetGte()), uint64(number.GetLte()); {
	case number.HasGte() && number.HasLte():
		add("uint32.gte_lte", fmt.Sprintf("must be greater than or equal to %d and less than or equal to %d", least, most),
			func(v protoreflect.Value) bool { return v.Uint() >= least && v.Uint() <= most })
	case number.HasGte():
		add("uint32.gte", fmt.Sprintf("must be greater than or equal to %d", least), func(v protoreflect.Value) bool { return v.Uint() >= least })
	case number.HasLte():
		add("uint32.lte", fmt.Sprintf("must be less than or equal to %d", most), func(v protoreflect.Value) bool { return v.Uint() <= most })
	}
	if not := enum.GetNotIn(); len(not) > 0 {
		add("enum.not_in", fmt.Sprintf("must not be in list %v", not), func(v protoreflect.Value) bool {
			return !slices.Contains(not, int32(v.Enum()))
		})
	}
	if enum.GetDefinedOnly() {
		add("enum.defined_only", "value must be one of the defined enum values", func(v protoreflect.Value) bool {
			return d.Enum().Values().ByNumber(v.Enum()) != nil
		})
	}
	if most := list.GetMaxItems(); list.HasMaxItems() {
		add("repeated.max_items", fmt.Sprintf("must contain no more than %d item(s)", most), func(v protoreflect.Value) bool {
			return uint64(v.List().Len()) <= most
		})
	}
	return all
}

// length is that of a text in characters.
func length(v protoreflect.Value) uint64 { return uint64(utf8.RuneCountInString(v.String())) }
