package platform

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// ValidateTopic tells, by a *FieldError, why the platform would not take a message of the device on the topic. It would drop the
// message without an answer, so this is the only place where one learns.
func ValidateTopic(id device.ID, topic string) error {
	const field = "topic"
	if err := validateText(field, id, topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") {
		return &FieldError{field, `holds a wildcard, "+" or "#"; those are for subscribing`}
	}
	if !owns(id, topic, publishPlaces) {
		return foreign(field, id)
	}
	return nil
}

// ValidateFilter tells, by a *FieldError, why the platform would not let the device subscribe to the filter.
func ValidateFilter(id device.ID, filter string) error {
	const field = "filter"
	if err := validateText(field, id, filter); err != nil {
		return err
	}
	if err := ValidateWildcards(field, filter); err != nil {
		return err
	}
	if !owns(id, filter, publishPlaces) && !owns(id, filter, subscribePlaces) {
		return foreign(field, id)
	}
	return nil
}

// validateText checks what topics and filters have in common.
func validateText(field string, id device.ID, s string) error {
	counted := withoutRRPC(s)
	custom := strings.HasPrefix(counted, "/"+id.ProductKey+"/")
	switch slashes := strings.Count(counted, "/"); {
	case s == "":
		return &FieldError{field, "is missing"}
	case !utf8.ValidString(s) || strings.Contains(s, "\x00"):
		return &FieldError{field, "must be UTF-8 without the character NUL"}
	case len(s)-len(counted) > MaxTopicBytes: // or a request's id could be longer than a packet of MQTT can say
		return &FieldError{field, fmt.Sprintf("has %d bytes before the topic that an RRPC is about; the platform's have at most %d", len(s)-len(counted), MaxTopicBytes)}
	case len(counted) > MaxTopicBytes:
		return &FieldError{field, fmt.Sprintf("has %d bytes; the platform takes %d", len(counted), MaxTopicBytes)}
	case custom && slashes > MaxTopicSlashes:
		return &FieldError{field, fmt.Sprintf("has %d slashes; the platform takes %d", slashes, MaxTopicSlashes)}
	case custom && (strings.Contains(counted, "//") || strings.HasSuffix(counted, "/")):
		return &FieldError{field, "has an empty level; in a custom topic something stands behind each slash"}
	}
	return nil
}

// withoutRRPC cuts "/ext/rrpc/REQUEST_ID" off: the platform puts it before a topic that itself keeps to the limits.
func withoutRRPC(s string) string {
	if rest, found := strings.CutPrefix(s, "/ext/rrpc/"); found {
		if at := strings.IndexByte(rest, '/'); at >= 0 {
			return rest[at:]
		}
	}
	return s
}

func foreign(field string, id device.ID) error {
	return &FieldError{field, fmt.Sprintf("is not the device's: the platform takes /%[1]s/%[2]s/…, /sys/%[1]s/%[2]s/…, "+
		"and the topics with its name under /ext, /ota and /shadow", id.ProductKey, id.DeviceName)}
}

// Where a device's topics are: pk and dn are the device's, * is any one level, … any one or more.
var (
	publishPlaces = places(
		"/sys/pk/dn/…",
		"/pk/dn/…",
		"/ext/rrpc/*/…", // any topic may stand behind the request's id: a caller chose it
		"/ext/*/pk/dn",
		"/ext/*/pk/dn/…",
		"/ota/device/*/pk/dn",
		"/shadow/*/pk/dn",
	)
	// subscribePlaces are topics on which the platform alone publishes.
	subscribePlaces = places(
		"/broadcast/pk/…",
		"/ext/register",
		"/ext/regnwl",
		"/ext/auth/identity/response",
		"/ext/network/probe/*",
	)
)

func places(patterns ...string) [][]string {
	all := make([][]string, len(patterns))
	for i, p := range patterns {
		all[i] = strings.Split(p, "/")
	}
	return all
}

// owns reports whether the topic or filter lies wholly in one of the places.
func owns(id device.ID, topic string, places [][]string) bool {
	for _, place := range places {
		if within(id, topic, place) {
			return true
		}
	}
	return false
}

func within(id device.ID, topic string, place []string) bool {
	rest, more := topic, true
	for _, want := range place {
		if !more {
			return false
		}
		if want == "…" {
			return rest != ""
		}
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch want {
		case "pk":
			want = id.ProductKey
		case "dn":
			want = id.DeviceName
		case "*":
			if level == "" || level == "#" {
				return false
			}
			continue
		}
		if level != want {
			return false
		}
	}
	return !more
}
