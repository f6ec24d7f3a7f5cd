package platform

import "strings"

// MatchFilter reports whether the topic matches the filter by MQTT's rules: "+" is any one level, "#" at the end any levels or
// none, and neither stands for a first level that begins with "$". It allocates nothing.
func MatchFilter(filter, topic string) bool {
	if filter == "" || topic == "" || topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		wanted, filterRest, filterMore := strings.Cut(filter, "/")
		if wanted == "#" {
			return !filterMore
		}
		level, topicRest, topicMore := strings.Cut(topic, "/")
		if wanted != "+" && wanted != level {
			return false
		}
		switch {
		case !topicMore:
			return !filterMore || filterRest == "#" // "a/#" matches "a" too
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// CoversFilter reports whether rule matches every topic that wanted matches, so that whoever may subscribe to rule may subscribe to
// wanted. Both must be filters of MQTT.
func CoversFilter(rule, wanted string) bool {
	if rule == "" || wanted == "" || wanted[0] == '$' && (rule[0] == '+' || rule[0] == '#') {
		return false
	}
	if rule == "+/#" { // the same: every topic has a first level
		rule = "#"
	}
	for {
		level, ruleRest, ruleMore := strings.Cut(rule, "/")
		if level == "#" {
			return !ruleMore
		}
		want, wantedRest, wantedMore := strings.Cut(wanted, "/")
		// A "#" reaches deeper than anything but a "#", and a "+" is more levels than any name.
		if want == "#" || level != "+" && level != want {
			return false
		}
		switch {
		case !wantedMore:
			return !ruleMore || ruleRest == "#" // "a/#" covers "a" too
		case !ruleMore:
			return false
		}
		rule, wanted = ruleRest, wantedRest
	}
}

// ValidateWildcards tells, by a *FieldError, which wildcard in a filter is not one of MQTT's.
func ValidateWildcards(field, filter string) error {
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level != "+" && strings.Contains(level, "+"):
			return &FieldError{field, `"+" must stand alone between slashes`}
		case level == "#" && more, level != "#" && strings.Contains(level, "#"):
			return &FieldError{field, `"#" must stand alone, behind the last slash`}
		}
	}
	return nil
}
