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
