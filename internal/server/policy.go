package server

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Rule lets callers do operations with devices. What no rule lets them do, they may not.
type Rule struct {
	// Callers are "uid:NUMBER-OR-NAME", "gid:NUMBER-OR-NAME" (a process's own group; the kernel tells no others),
	// "certificate:NAME", "token", "loopback", or "*" for everybody who gets in. NAME may hold "*".
	Callers []string `yaml:"callers"`
	// Operations are names of rpcs, such as "Connect", or of groups of them: "read", "connect", "register", "forget", "publish",
	// "subscribe", "consume", "answer"; or "*".
	Operations []string `yaml:"operations"`
	// Devices are "PRODUCT_KEY/DEVICE_NAME", in which either part may hold "*"; none given means all.
	Devices []string `yaml:"devices"`
	// Topics are filters of MQTT in which "{product_key}" and "{device_name}" stand for the device's: the caller publishes on what one
	// of them matches, and subscribes to what one of them covers. None given means all; other operations know no topics.
	Topics []string `yaml:"topics"`
}

// operations are the rpcs by the groups that a policy may name.
var operations = map[string][]string{
	"read":      {"GetDevice", "ListDevices", "Events"},
	"publish":   {"Publish", "PublishStream"},
	"subscribe": {"Subscribe"},
	"consume":   {"Consume", "ListInboxes", "DeleteInbox"},
	"answer":    {"AnswerCalls"},
	"connect":   {"Connect", "Disconnect"},
	"register":  {"Register"},
	"forget":    {"ForgetDevice"},
}

// Policy is what all the rules together permit. A nil Policy permits everything to everybody who gets in: then the mode of the
// socket decides, or the certificates and tokens of TCP.
type Policy struct{ rules []rule }

type rule struct {
	callers    []func(Caller) bool
	operations []string // of rpcs
	devices    []device.ID
	topics     []string // none is all
}

// NewPolicy reads rules. Its errors name the rule, counted from 1, and what is wrong with it.
func NewPolicy(rules []Rule) (*Policy, error) {
	p := &Policy{}
	for i, r := range rules {
		read, err := readRule(r)
		if err != nil {
			return nil, fmt.Errorf("rule %d of the policy: %w", i+1, err)
		}
		p.rules = append(p.rules, read)
	}
	return p, nil
}

func readRule(r Rule) (rule, error) {
	var read rule
	if len(r.Callers) == 0 || len(r.Operations) == 0 {
		return rule{}, errors.New(`it needs callers and operations; "*" means all of them`)
	}
	for _, c := range r.Callers {
		matches, err := readCaller(c)
		if err != nil {
			return rule{}, err
		}
		read.callers = append(read.callers, matches)
	}
	for _, o := range r.Operations {
		names, err := readOperation(o)
		if err != nil {
			return rule{}, err
		}
		read.operations = append(read.operations, names...)
	}
	for _, d := range r.Devices {
		key, name, found := strings.Cut(d, "/")
		if !found || key == "" || name == "" || !isPattern(key) || !isPattern(name) {
			return rule{}, fmt.Errorf(`device %q must look like PRODUCT_KEY/DEVICE_NAME; either part may hold "*"`, d)
		}
		read.devices = append(read.devices, device.ID{ProductKey: key, DeviceName: name})
	}
	if len(r.Devices) == 0 {
		read.devices = []device.ID{{ProductKey: "*", DeviceName: "*"}}
	}
	var err error
	read.topics, err = readTopics(r.Topics, read.operations)
	return read, err
}

func readCaller(s string) (func(Caller) bool, error) {
	kind, name, named := strings.Cut(s, ":")
	is := func(k CallerKind) func(Caller) bool { return func(c Caller) bool { return c.Kind == k } }
	switch {
	case s == "*":
		return func(Caller) bool { return true }, nil
	case s == "token":
		return is(TokenCaller), nil
	case s == "loopback":
		return is(LoopbackCaller), nil
	case kind == "uid" && named:
		id, err := userID(name)
		return func(c Caller) bool { return c.Kind == UnixCaller && int64(c.UID) == int64(id) }, err
	case kind == "gid" && named:
		id, err := groupID(name)
		return func(c Caller) bool { return c.Kind == UnixCaller && int64(c.GID) == int64(id) }, err
	case kind == "certificate" && name != "" && isPattern(name):
		return func(c Caller) bool { return c.Kind == CertificateCaller && matches(name, c.Name) }, nil
	}
	return nil, fmt.Errorf(`caller %q must be "uid:NUMBER-OR-NAME", "gid:NUMBER-OR-NAME", "certificate:NAME", "token", "loopback" or "*"`, s)
}

func readOperation(s string) ([]string, error) {
	if names, ok := operations[s]; ok {
		return names, nil
	}
	var all []string
	for _, names := range operations {
		all = append(all, names...)
	}
	switch {
	case s == "*":
		return all, nil
	case slices.Contains(all, s):
		return []string{s}, nil
	}
	slices.Sort(all)
	return nil, fmt.Errorf(`operation %q must be one of read, connect, register, forget, *, or an rpc: %s`, s, strings.Join(all, ", "))
}

// permits reports whether the caller may do the operation with the device.
func (p *Policy) permits(c Caller, operation string, id device.ID) bool {
	return p.any(c, operation, func(r rule) bool { return r.has(id) })
}

// permitsSome reports whether there can be a device with which the caller may do the operation.
func (p *Policy) permitsSome(c Caller, operation string) bool {
	return p.any(c, operation, func(rule) bool { return true })
}

func (p *Policy) any(c Caller, operation string, fits func(rule) bool) bool {
	if p == nil {
		return true
	}
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		return slices.Contains(r.operations, operation) && fits(r) && r.isFor(c)
	})
}

func (r rule) isFor(c Caller) bool {
	return slices.ContainsFunc(r.callers, func(is func(Caller) bool) bool { return is(c) })
}

func (r rule) has(id device.ID) bool {
	return slices.ContainsFunc(r.devices, func(pattern device.ID) bool {
		return matches(pattern.ProductKey, id.ProductKey) && matches(pattern.DeviceName, id.DeviceName)
	})
}

// isPattern reports whether s holds no other wildcard than "*", so that nothing in it means what its author did not mean.
func isPattern(s string) bool { return !strings.ContainsAny(s, `?[]\`) }

// matches reports whether s is the pattern, in which "*" stands for any characters.
func matches(pattern, s string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for !matches(rest, s) {
		if s == "" {
			return false
		}
		s = s[1:]
	}
	return true
}

// notPermitted says who may not do what with which device, and on which topic.
type notPermitted struct {
	caller    Caller
	operation string
	device    device.ID // zero when the operation is not permitted with any
	topic     string    // or filter; "" when the operation is not permitted on any
}

func (e *notPermitted) Error() string {
	with := "any device"
	if !e.device.IsZero() {
		with = e.device.String()
	}
	if e.topic != "" {
		with += fmt.Sprintf(" on %.*q", maxTopicTold, e.topic)
	}
	return fmt.Sprintf("the policy does not let %s do %s with %s: it takes a rule in the sidecar's configuration", e.caller, e.operation, with)
}

// operationOf is the rpc's name in "/package.Service/Rpc".
func operationOf(fullMethod string) string { return path.Base(fullMethod) }
