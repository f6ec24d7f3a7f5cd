package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

func FuzzParseUsername(f *testing.F) {
	for _, seed := range []string{"dev-001&a1B2c3D4e5F", "&", "a&b&c", "dev|001&a1B2c3D4e5F", "d\n&pk", "d.e:f@g&pk"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseUsername(s)
		if err != nil {
			if !id.IsZero() || !errors.Is(err, device.ErrInvalidID) {
				t.Fatalf("%q: %v, %v", s, id, err)
			}
			return
		}
		if id.Validate() != nil || username(id) != s {
			t.Fatalf("%q is read as %v, which is written as %q", s, id, username(id))
		}
		login := SecretLogin(id, device.NewSecret("x"), LoginOptions{Timestamp: "1"})
		c, err := ParseClientID(login.ClientID)
		if err != nil || c.Get("timestamp") != "1" || len(c.Base) > MaxClientIDBase || !strings.Contains(c.Base, id.DeviceName) {
			t.Fatalf("%v logs in as %q: %v", id, login.ClientID, err)
		}
	})
}

func FuzzMatchFilter(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/#", "a"},
		{"a/+", "a/"},
		{"+/+", "/a"},
		{"#", "$SYS/x"},
		{"#/a", "a"},
		{"a+", "ab"},
		{"/sys" + own + "/thing/#", "/sys" + own + "/thing/event/x/post"},
		{"//", "//"},
		{"+/", "a/"},
		{"+/#", "a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		want := filter != "" && topic != "" && (topic[0] != '$' || filter[0] != '+' && filter[0] != '#') &&
			matchLevels(strings.Split(filter, "/"), strings.Split(topic, "/"))
		if got := MatchFilter(filter, topic); got != want {
			t.Fatalf("MatchFilter(%q, %q) = %v", filter, topic, got)
		}
	})
}

// FuzzCoversFilter: no topic that the filter wanted matches may be out of what the rule matches.
func FuzzCoversFilter(f *testing.F) {
	for _, seed := range [][3]string{
		{"a/#", "a/+", "a/b"}, {"a/+", "a/#", "a"}, {"#", "+/a", "$/a"}, {"/+/+/user/#", own + "/user/get", own + "/user/get"}, {"a/+/#", "a/#", "a"}, {"a/#", "a", "a"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, rule, wanted, topic string) {
		if ValidateWildcards("rule", rule) != nil || ValidateWildcards("wanted", wanted) != nil {
			return
		}
		covers := CoversFilter(rule, wanted)
		if covers && MatchFilter(wanted, topic) && !MatchFilter(rule, topic) {
			t.Fatalf("%q is said to cover %q, and %q is only in the second", rule, wanted, topic)
		}
		if !strings.ContainsAny(wanted, "+#") && covers != MatchFilter(rule, wanted) {
			t.Fatalf("%q covers the topic %q: %v", rule, wanted, covers)
		}
		if rule != "" && !CoversFilter(rule, rule) {
			t.Fatalf("%q does not cover itself", rule)
		}
	})
}

// matchLevels is MQTT's rule as its section 4.7.1 tells it, level by level.
func matchLevels(filter, topic []string) bool {
	switch {
	case len(filter) == 0:
		return len(topic) == 0
	case filter[0] == "#": // also what is above it, since then no level of the topic is left
		return len(filter) == 1
	case len(topic) == 0:
		return false
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matchLevels(filter[1:], topic[1:])
}

// FuzzParseObject has encoding/json for its judge: a strict reader takes what is JSON, and of it only objects in which no key is twice.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		secretReply, tokenReply, `{}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1,"\u0061":2}`, ` {"":[]} `, `[]`, `null`, `{"a":1}{"b":2}`, "{\"a\":\"\xff\"}",
		`{"code":200,"data":` + secretReply + `,"message":"success"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseObject(data)
		keys, isObject := topKeys(data)
		twice := false
		for i, key := range keys {
			for _, before := range keys[:i] {
				twice = twice || before == key
			}
		}
		if want := utf8.Valid(data) && isObject && !twice && len(data) <= maxReply; (err == nil) != want {
			t.Fatalf("%q: %v; keys %q", data, err, keys)
		}
		if err != nil {
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil || len(all) != len(o) || len(keys) != len(o) {
			t.Fatalf("%q: %v, %d keys of %d", data, err, len(o), len(all))
		}
		for key, value := range all {
			if !bytes.Equal(bytes.TrimSpace(o[key]), bytes.TrimSpace(value)) {
				t.Fatalf("%q: %q is %q and not %q", data, key, o[key], value)
			}
		}
	})
}

// topKeys lists the keys of the outermost object, in another way than the reader: on the compacted text it counts brackets.
func topKeys(data []byte) (keys []string, isObject bool) {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil || b.Len() == 0 || b.Bytes()[0] != '{' {
		return nil, false
	}
	text := b.Bytes()
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			start := i
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			var s string
			if depth == 1 && text[i+1] == ':' && json.Unmarshal(text[start:i+1], &s) == nil {
				keys = append(keys, s)
			}
		}
	}
	return keys, true
}

// FuzzRegistrationErrorsKeepTheSecret puts a secret anywhere into a reply: no error may repeat it. What the platform says in a refusal
// is for people, and repeated on purpose.
func FuzzRegistrationErrorsKeepTheSecret(f *testing.F) {
	const secret = "hunter2"
	for _, seed := range []string{secretReply, tokenReply, `{"code":200,"data":` + secretReply + `}`, `{"code":6288,"message":""}`, `{"code":""}`, ``} {
		for _, at := range []uint16{0, 16, 200, 65535} {
			f.Add(seed, at, 200)
		}
	}
	f.Fuzz(func(t *testing.T, reply string, at uint16, status int) {
		cut := min(int(at), len(reply))
		payload := []byte(reply[:cut] + secret + reply[cut:])
		for _, method := range []RegistrationMethod{PreRegistered, RegistrationFree} {
			got, _, err := ParseRegistrationReply(registration(method, Endpoint{}), topicRegister, payload)
			usable(t, got, err)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Fatalf("%s, %q: %v", method, payload, err)
			}
		}
		got, err := ParseHTTPSRegistrationReply(dev001, status, payload)
		usable(t, got, err)
		refused, _ := errors.AsType[*RegistrationRefusedError](err)
		if err != nil && strings.Contains(err.Error(), secret) && (refused == nil || !strings.Contains(refused.Message, secret)) {
			t.Fatalf("HTTPS, %q: %v", payload, err)
		}
	})
}

func FuzzInterfaceInfo(f *testing.F) {
	f.Add("03:AC:DE:FF:00:32", "03acdeff0032", "860000000000001", "89860", "", "")
	f.Add("", "03-AC-DE-FF-00-32", "", "", "460", "8613800000000")
	f.Add("03:AC:DE:FF:00:3", "x", "1|2", "1,2", "", "")
	f.Fuzz(func(t *testing.T, ethernet, wifi, imei, iccid, imsi, msisdn string) {
		var all []NetworkInterface
		var kinds []string
		if ethernet != "" {
			all, kinds = append(all, Ethernet{ethernet}), append(kinds, "Eth")
		}
		if wifi != "" {
			all, kinds = append(all, WiFi{wifi}), append(kinds, "WiFi")
		}
		if imei+iccid+imsi+msisdn != "" {
			all, kinds = append(all, Cellular{imei, iccid, imsi, msisdn}), append(kinds, "Cellular")
		}
		info, err := InterfaceInfo(all)
		if err != nil {
			wrongField(t, err)
			return
		}
		if len(info) > MaxInterfaceInfo {
			t.Fatalf("%q is too long", info)
		}
		// It comes through a client id whole, and is read as the interfaces that it was made of.
		c, err := ParseClientID(SecretLogin(dev001, device.NewSecret("x"), LoginOptions{InterfaceInfo: info, Timestamp: "1"}).ClientID)
		if err != nil || c.Get("sii") != info || c.Get("timestamp") != "1" {
			t.Fatalf("%q became %q, %v", info, c.Get("sii"), err)
		}
		reported := ParseInterfaceInfo(info)
		if len(reported) != len(kinds) {
			t.Fatalf("%q was read as %v", info, reported)
		}
		for i, r := range reported {
			if r.Kind != kinds[i] || len(r.Values) == 0 {
				t.Fatalf("%q was read as %v", info, reported)
			}
		}
	})
}

func FuzzParseInterfaceInfo(f *testing.F) {
	for _, seed := range []string{"", "WiFi|03ACDEFF0032", "Eth|03ACDEFF0032|Cellular|imei_860000000000001|iccid_1", "x|eth|||wifi", "ETH|03|AC|DE|FF|00|32"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var parts []string
		for _, r := range ParseInterfaceInfo(s) {
			parts = append(append(parts, r.Kind), r.Values...)
		}
		// Nothing is lost but what stands before the first kind.
		if again := strings.Join(parts, "|"); !strings.HasSuffix("|"+s, "|"+again) && len(parts) > 0 {
			t.Fatalf("%q was read as %q", s, again)
		}
	})
}

func FuzzEndpoint(f *testing.F) {
	f.Add("cn-shanghai", "", "", 0)
	f.Add("", "iot-cn-abc123", "", 1883)
	f.Add("", "", "broker.example.com.", 8883)
	f.Add("", "", "192.0.2.1", 65535)
	f.Add("", "", "fe80::1%eth0", 443)
	f.Add("", "", "[::1]", -1)
	f.Add("", "", "mqtts://example.com/x", 1)
	f.Fuzz(func(t *testing.T, region, instance, host string, port int) {
		e := Endpoint{Region: region, InstanceID: instance, Host: host, Port: port}
		name, number, err := e.Resolve(dev001.ProductKey)
		if err != nil {
			if name != "" || number != 0 || !strings.HasPrefix(wrongField(t, err), "endpoint") {
				t.Fatalf("%+v: %q %d, %v", e, name, number, err)
			}
			return
		}
		// It must stand in an address and a URL and mean the same there.
		if number < 1 || number > 65535 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%+v is %q, port %d", e, name, number)
		}
		u, err := url.Parse(CustomRegistrationURL(name, number))
		if err != nil || u.Hostname() != name || u.Port() != strconv.Itoa(number) || u.Path != registrationPath || u.User != nil {
			t.Fatalf("%q, port %d, in a URL: %v, %v", name, number, u, err)
		}
	})
}

// control are the characters that no part of a credential holds: a client id or a password with one would be refused at best.
func control(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
