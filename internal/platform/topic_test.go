package platform

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// own is the device's name as topics have it.
const own = "/a1B2c3D4e5F/dev-001"

func TestTopicsOnWhichADevicePublishes(t *testing.T) {
	for _, topic := range []string{
		own + "/user/update",
		own + "/user/update/error",
		own + "/update", // products of the basic edition
		own + "/user/1/2/3/4",
		own + "/user/温度",
		"/sys" + own + "/thing/event/property/post",
		"/sys" + own + "/thing/event/property/history/post", // 8 slashes: the platform's own topics go deeper
		"/sys" + own + "/rrpc/response/1234567890",
		"/sys" + own + "/_thing/diag/post",
		"/ext/rrpc/1234567890" + own + "/user/get",
		"/ext/rrpc/1234567890/sys" + own + "/thing/service/reboot",
		"/ext/rrpc/1234567890/any/topic",
		"/ext/ntp" + own + "/request",
		"/ext/session" + own + "/combine/batch_login",
		"/ota/device/inform" + own,
		"/ota/device/progress" + own,
		"/shadow/update" + own,
		own + "/user/" + strings.Repeat("x", MaxTopicBytes-len(own)-len("/user/")),
		"/ext/rrpc/1234567890" + own + "/user/" + strings.Repeat("x", MaxTopicBytes-len(own)-len("/user/")), // its prefix does not count
	} {
		if err := ValidateTopic(dev001, topic); err != nil {
			t.Errorf("%q: %v", topic, err)
		}
		if err := ValidateFilter(dev001, topic); err != nil {
			t.Errorf("%q as a filter: %v", topic, err)
		}
	}
}

func TestTopicsOnWhichADeviceCannotPublish(t *testing.T) {
	const foreign = "not the device's"
	for _, c := range []struct{ topic, says string }{
		{"", "missing"},
		{own + "/user/\xff", "UTF-8"},
		{own + "/user/\x00", "NUL"},
		{own + "/user/+", "wildcard"},
		{own + "/user/#", "wildcard"},
		{own + "/user/" + strings.Repeat("x", MaxTopicBytes-len(own)-5), "has 129 bytes; the platform takes 128"},
		{"/ota/device/" + strings.Repeat("x", 200) + own, "the platform takes 128"},
		{own + "/user/1/2/3/4/5", "has 8 slashes; the platform takes 7"},
		{"/ext/rrpc/1" + own + "/user/1/2/3/4/5", "has 8 slashes; the platform takes 7"},
		{"/ext/rrpc/" + strings.Repeat("1", 1<<16) + own + "/user/get", "before the topic"}, // would break the packet
		{own + "/user//x", "empty level"},
		{own + "/user/", "empty level"},
		{own + "/", "empty level"},
		{own, foreign},
		{own[1:] + "/user/update", foreign},
		{"/a1B2c3D4e5F/dev-002/user/update", foreign},
		{"/a1B2c3D4e5F/dev-0011/user/update", foreign},
		{"/A1B2C3D4E5F/dev-001/user/update", foreign},
		{"/sys/a1B2c3D4e5F/dev-002/thing/event/property/post", foreign},
		{"/sys" + own, foreign},
		{"/sys" + own + "/", foreign},
		{"/ext/ntp/a1B2c3D4e5F/dev-002/request", foreign},
		{"/ext/rrpc/1", foreign},
		{"/ext/rrpc//x", foreign},
		{"/ext/register", foreign},
		{"/ota/device/inform/a1B2c3D4e5F/dev-002", foreign},
		{"/ota/device/inform" + own + "/x", foreign},
		{"/shadow/update/a1B2c3D4e5F/dev-002", foreign},
		{"/broadcast/a1B2c3D4e5F/all", foreign},
		{"$SYS/broker", foreign},
		{"/", foreign},
	} {
		if err := ValidateTopic(dev001, c.topic); wrongField(t, err) != "topic" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.topic, err)
		}
	}
}

func TestFiltersToWhichADeviceSubscribes(t *testing.T) {
	for _, filter := range []string{
		own + "/#", own + "/+/get", own + "/user/#",
		"/sys" + own + "/#", "/sys" + own + "/thing/event/+/post_reply", "/sys" + own + "/rrpc/request/+",
		"/ext/rrpc/+" + own + "/user/get", "/ext/rrpc/+/#", "/ext/session" + own + "/#", "/ext/ntp" + own + "/response", "/ext/error" + own,
		"/ota/device/+" + own, "/shadow/+" + own, "/shadow/get" + own,
		"/broadcast/a1B2c3D4e5F/all", "/broadcast/a1B2c3D4e5F/#", "/ext/register", "/ext/regnwl", "/ext/auth/identity/response", "/ext/network/probe/+",
	} {
		if err := ValidateFilter(dev001, filter); err != nil {
			t.Errorf("%q: %v", filter, err)
		}
	}
}

func TestFiltersThatThePlatformWouldRefuse(t *testing.T) {
	const foreign = "not the device's"
	for _, c := range []struct{ filter, says string }{
		{"", "missing"},
		{own + "/user/\xff", "UTF-8"},
		{own + "/user/a+", `"+" must stand alone`},
		{own + "/user/++", `"+" must stand alone`},
		{own + "/user/a#", `"#" must stand alone`},
		{own + "/#/user", `"#" must stand alone`},
		{own + "/user/" + strings.Repeat("x", 128), "the platform takes 128"},
		{own + "/user/+/+/+/+/#", "the platform takes 7"},
		{"#", foreign},
		{"/#", foreign},
		{"+/a1B2c3D4e5F/dev-001/user/get", foreign},
		{"/a1B2c3D4e5F/+/user/get", foreign},
		{"/+/dev-001/user/get", foreign},
		{"/sys/+/+/thing/#", foreign},
		{"/ext/#", foreign},
		{"/ext/rrpc/#", foreign},
		{"/ota/#", foreign},
		{"/broadcast/other/all", foreign},
	} {
		if err := ValidateFilter(dev001, c.filter); wrongField(t, err) != "filter" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.filter, err)
		}
	}
}

// topics draws from pieces that make up the device's topics, so that many are valid or nearly so.
var topics = rapid.Custom(func(t *rapid.T) string {
	pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
		"", "a", "b", "+", "#", "$", "/", "/", "/sys", "/ext", "/rrpc", "/ota", "/device", "/shadow", own, "/user", "/a1B2c3D4e5F", "/dev-001", "\x00", "\xff",
	}), 0, 8).Draw(t, "pieces")
	return strings.Join(pieces, "")
})

func TestATopicThatPassesKeepsToTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.OneOf(topics, rapid.String()).Draw(t, "topic")
		if ValidateTopic(dev001, topic) != nil {
			return
		}
		if !utf8.ValidString(topic) || strings.ContainsAny(topic, "+#\x00") || len(withoutRRPC(topic)) > MaxTopicBytes || topic[0] != '/' {
			t.Fatalf("%q passes", topic)
		}
		if err := ValidateFilter(dev001, topic); err != nil {
			t.Fatalf("a device publishes on %q and cannot subscribe to it: %v", topic, err)
		}
	})
}

func FuzzTopicsAndFilters(f *testing.F) {
	for _, seed := range []string{
		own + "/user/get", "/ext/rrpc/+" + own + "/#", "/sys" + own + "/thing/event/+/post_reply", "#", "+/+", "a//b", "$SYS/#",
		"/ext/ntp" + own + "/request", "/ota/device/inform" + own, "/shadow/+" + own, "/broadcast/a1B2c3D4e5F/#", "/ext/network/probe/+", "/ext/rrpc/1/any/topic",
		"/ext/rrpc/" + strings.Repeat("1", 1<<16) + "/x",
	} {
		f.Add(seed, own+"/user/get")
		f.Add(own+"/#", seed)
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		filterErr, topicErr := ValidateFilter(dev001, filter), ValidateTopic(dev001, topic)
		wrongField(t, filterErr)
		wrongField(t, topicErr)
		if filterErr == nil {
			if matched := MatchFilter(filter, topic); matched != matchByRegexp(filter, topic) {
				t.Fatalf("MatchFilter(%q, %q) = %v", filter, topic, matched)
			}
			if len(filter) > longestTopic || !named(filter) && !strings.HasPrefix(filter, "/broadcast/a1B2c3D4e5F/") && !strings.HasPrefix(filter, "/ext/") {
				t.Fatalf("%.300q (%d bytes) passes as a filter", filter, len(filter))
			}
		}
		if topicErr != nil {
			return
		}
		if err := ValidateFilter(dev001, topic); err != nil {
			t.Fatalf("a device publishes on %q and cannot subscribe to it: %v", topic, err)
		}
		// Behind "/ext/rrpc/ID" stands what the caller of an RRPC chose; any other topic has the device's name in it.
		if len(topic) > longestTopic || !utf8.ValidString(topic) || !named(topic) && !strings.HasPrefix(topic, "/ext/rrpc/") {
			t.Fatalf("%.300q (%d bytes) passes", topic, len(topic))
		}
		if !MatchFilter(topic, topic) {
			t.Fatalf("%q does not match itself", topic)
		}
	})
}

// longestTopic is more than any topic of the platform has, and much less than MQTT can carry: a longer one breaks the packet.
const longestTopic = 2 * MaxTopicBytes

// named reports whether the device's names stand in the topic, as two levels one after the other.
func named(topic string) bool { return strings.Contains(topic+"/", own+"/") }
