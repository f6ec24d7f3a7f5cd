package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// calling is the context of a call by c.
func calling(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, identity{caller: c})
}

func TestARulesTopicsBoundMessagesAndNothingElse(t *testing.T) {
	p, err := NewPolicy([]Rule{
		{Callers: []string{"uid:1"}, Operations: []string{"*"}, Devices: []string{"*/dev-001"}, Topics: []string{
			"/{product_key}/{device_name}/user/+", "/sys/{product_key}/{device_name}/thing/event/#",
		}},
		{Callers: []string{"uid:2"}, Operations: []string{"publish"}, Topics: []string{"/a1B2c3D4e5F/dev-{device_name}/#", "/ext/rrpc/+/{product_key}/#"}},
		{Callers: []string{"uid:2"}, Operations: []string{"subscribe"}},
		{Callers: []string{"uid:3"}, Operations: []string{"subscribe"}, Topics: []string{"/a1B2c3D4e5F/dev-001/a/+"}},
		{Callers: []string{"uid:3"}, Operations: []string{"Subscribe"}, Topics: []string{"/a1B2c3D4e5F/dev-001/b/#"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{policy: p}
	const own, other = "/a1B2c3D4e5F/dev-001", "/a1B2c3D4e5F/dev-002"
	for _, c := range []struct {
		uid       uint32
		operation string // Subscribe takes filters
		id        device.ID
		topics    string // apart from each other by spaces
		refused   string // the topic that the error names
	}{
		{1, "Publish", dev1, own + "/user/update", ""},
		{1, "PublishStream", dev1, own + "/user/update", ""},
		{1, "Publish", dev1, own + "/user/update/error", own + "/user/update/error"},
		{1, "Publish", dev1, other + "/user/update", other + "/user/update"},
		{1, "Publish", dev2, other + "/user/update", other + "/user/update"}, // another device
		{1, "Publish", dev1, "/sys" + own + "/thing/event/property/post", ""},
		{1, "Publish", dev1, "", ""},
		{1, "Subscribe", dev1, own + "/user/+ " + own + "/user/get /sys" + own + "/thing/event/+/post_reply", ""},
		{1, "Subscribe", dev1, own + "/user/get " + own + "/user/#", own + "/user/#"},
		{1, "Subscribe", dev1, own + "/+/get", own + "/+/get"},
		{1, "Subscribe", dev1, "#", "#"},
		{2, "Publish", dev("x"), "/a1B2c3D4e5F/dev-x/user/update", ""},
		{2, "Publish", dev("x"), "/a1B2c3D4e5F/dev-y/user/update", "/a1B2c3D4e5F/dev-y/user/update"},
		{2, "Publish", dev1, "/ext/rrpc/17" + own + "/user/get", ""},
		{2, "Subscribe", dev1, own + "/#", ""}, // by the rule without topics
		{3, "Subscribe", dev1, own + "/a/x " + own + "/b/#", ""},
		{3, "Subscribe", dev1, own + "/+/x", own + "/+/x"}, // no single rule covers it
		{3, "Publish", dev1, own + "/a/x", own + "/a/x"},
		{4, "Publish", dev1, own + "/user/update", own + "/user/update"},
	} {
		ctx := calling(t.Context(), Caller{Kind: UnixCaller, UID: c.uid})
		var err error
		if c.operation == "Subscribe" {
			err = s.permitFilters(ctx, c.operation, c.id, strings.Split(c.topics, " "))
		} else if c.topics != "" {
			err = s.permitPublish(ctx, c.operation, c.id, c.topics)
		}
		denied, _ := errors.AsType[*notPermitted](err)
		if (err == nil) != (c.refused == "") || err != nil && (denied == nil || denied.topic != c.refused || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("uid %d, %s with %s on %s: %v", c.uid, c.operation, c.id, c.topics, err)
		}
	}
	if !p.permits(Caller{Kind: UnixCaller, UID: 1}, "Connect", dev1) {
		t.Error("topics keep a caller from what has none")
	}
}

func TestWithoutAPolicyEveryTopicIsPermittedAndCostsNothing(t *testing.T) {
	s, ctx := &service{}, t.Context()
	filters := []string{"#"}
	if n := testing.AllocsPerRun(100, func() {
		if s.permitPublish(ctx, "Publish", dev1, "/x") != nil || s.permitFilters(ctx, "Subscribe", dev1, filters) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTopicsThatMakeNoSenseAreNamed(t *testing.T) {
	for _, c := range []struct{ operation, topic, says string }{
		{"publish", "", `topic "" must begin with "/"`},
		{"publish", "user/update", `topic "user/update" must begin with "/"`},
		{"subscribe", "/a/#/b", `topic "/a/#/b": "#" must stand alone`},
		{"Subscribe", "/a/b+", `topic "/a/b+": "+" must stand alone`},
		{"*", "+a", `"+" must stand alone`},
		{"publish", "/{product}/x", `no other braces than {product_key} and {device_name}`},
		{"publish", "/{device_name/x", "no other braces"},
		{"read", "/a/b", `permits none of them`},
	} {
		_, err := NewPolicy([]Rule{{Callers: []string{"*"}, Operations: []string{c.operation}, Topics: []string{c.topic}}})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "rule 1") {
			t.Errorf("%s, %q: %v", c.operation, c.topic, err)
		}
	}
}

func TestARefusedTopicIsToldWithoutMakingTheAnswerTooLarge(t *testing.T) {
	status, reason := toStatus(&notPermitted{caller: Caller{Kind: TokenCaller}, operation: "Publish", device: dev1, topic: "/a/" + strings.Repeat("é", 1<<20)})
	if reason != "CALLER_NOT_PERMITTED" || len(status.Message()) > 1000 || !utf8.ValidString(status.Message()) {
		t.Errorf("%s: %.1000s", reason, status.Message())
	}
	r := refusalOf(t, status.Err())
	if topic := r.metadata["topic"]; !strings.HasPrefix(topic, "/a/é") || len(topic) > maxTopicTold || !utf8.ValidString(topic) {
		t.Errorf("%q", topic)
	}
}
