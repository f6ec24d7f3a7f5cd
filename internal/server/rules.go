package server

import (
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// rules are what the contract's annotations demand of one type of message. Why protovalidate does not obey them is decision 22; a test
// compares what is found with what it finds, word for word.
type rules struct {
	whole  []demand
	oneofs []protoreflect.OneofDescriptor // of each of which a member must be set
	fields []fieldRules
}

// demand is one of them. Its problem does not tell what the field holds.
type demand struct {
	id, problem string
	holds       func(v protoreflect.Value) bool
}

// fieldRules are the demands on one field.
type fieldRules struct {
	field    protoreflect.FieldDescriptor
	required bool
	value    []demand // on what the field holds; of a list, on the list
	items    []demand // on each item of a list
	inside   *rules   // on each message that the field holds; nil for other types
}

// broken are the rules that a message breaks.
func (r *rules) broken(m protoreflect.Message) (all []*errdetails.BadRequest_FieldViolation) {
	all = breaks(all, "", r.whole, protoreflect.ValueOfMessage(m))
	for _, o := range r.oneofs {
		if m.WhichOneof(o) == nil {
			all = append(all, &errdetails.BadRequest_FieldViolation{
				Field: string(o.Name()), Description: "exactly one field is required in oneof", Reason: "required",
			})
		}
	}
	for _, f := range r.fields {
		all = append(all, f.broken(m)...)
	}
	return all
}

func (f *fieldRules) broken(m protoreflect.Message) (all []*errdetails.BadRequest_FieldViolation) {
	name := string(f.field.Name())
	if !m.Has(f.field) && f.required {
		return []*errdetails.BadRequest_FieldViolation{{Field: name, Description: "value is required", Reason: "required"}}
	}
	if !m.Has(f.field) && f.field.HasPresence() {
		return nil
	}
	v := m.Get(f.field)
	all = breaks(all, name, f.value, v)
	if !f.field.IsList() {
		return append(all, f.brokenInside(name, v)...)
	}
	for i := range v.List().Len() {
		item, at := v.List().Get(i), name+"["+strconv.Itoa(i)+"]"
		all = append(breaks(all, at, f.items, item), f.brokenInside(at, item)...)
	}
	return all
}

// brokenInside are the rules that a message in the field breaks.
func (f *fieldRules) brokenInside(at string, v protoreflect.Value) (all []*errdetails.BadRequest_FieldViolation) {
	if f.inside == nil {
		return nil
	}
	all = f.inside.broken(v.Message())
	for _, b := range all {
		if b.Field == "" { // a rule of the whole message
			b.Field = at
		} else {
			b.Field = at + "." + b.Field
		}
	}
	return all
}

func breaks(all []*errdetails.BadRequest_FieldViolation, field string, demands []demand, v protoreflect.Value) []*errdetails.BadRequest_FieldViolation {
	for _, d := range demands {
		if !d.holds(v) {
			all = append(all, &errdetails.BadRequest_FieldViolation{Field: field, Description: d.problem, Reason: d.id})
		}
	}
	return all
}
