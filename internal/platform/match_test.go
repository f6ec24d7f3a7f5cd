package platform

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFiltersMatchByTheRulesOfMQTT(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/B", false},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"a/+", "a/b", true},
		{"a/+", "a/", true}, // an empty level is one
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"a/+/c", "a/b/c", true},
		{"+", "a", true},
		{"+", "/a", false},
		{"+/+", "/a", true},
		{"/+", "/a", true},
		{"a/#", "a", true}, // the level above is in it
		{"a/#", "a/", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/+/#", "a", false},
		{"a/+/#", "a/b", true},
		{"#", "a/b", true},
		{"#", "/", true},
		{"#/a", "a", false}, // not a filter
		{"a+", "ab", false}, // not a filter
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"", "", false},
		{"", "a", false},
		{"a", "", false},
		{"#", "", false},
	} {
		if got := MatchFilter(c.filter, c.topic); got != c.want {
			t.Errorf("MatchFilter(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestMatchingAgreesWithARegularExpression(t *testing.T) {
	filters := rapid.StringMatching(`(\$|[ab]?)(/(\+|[ab]?)){0,4}(/#)?`)
	rapid.Check(t, func(t *rapid.T) {
		filter := filters.Draw(t, "filter")
		topic := rapid.StringMatching(`(\$|[ab]?)(/[ab]?){0,5}`).Draw(t, "topic")
		if got := MatchFilter(filter, topic); got != matchByRegexp(filter, topic) {
			t.Fatalf("MatchFilter(%q, %q) = %v", filter, topic, got)
		}
	})
}

func TestARuleCoversAFilter(t *testing.T) {
	for _, c := range []struct {
		rule, wanted string
		want         bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/+", false},
		{"a/b", "a/#", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"a/+/c", "a/b/+", false},
		{"a/+/+", "a/b/+", true},
		{"a/#", "a", true},
		{"a/#", "a/#", true},
		{"a/#", "a/+/#", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/#", "#", false},
		{"a/#", "+/b", false},
		{"a/+/#", "a/#", false}, // matches "a" too
		{"a/+/#", "a/b/#", true},
		{"#", "#", true},
		{"#", "+/a", true},
		{"+", "#", false},
		{"+/#", "#", true},
		{"+/+/#", "#", false},
		{"#", "$SYS/a", false},
		{"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/+", true},
		{"#", "", false},
		{"", "a", false},
	} {
		if got := CoversFilter(c.rule, c.wanted); got != c.want {
			t.Errorf("CoversFilter(%q, %q) = %v", c.rule, c.wanted, got)
		}
	}
}

// TestCoveringIsMatchingAllThatIsMatched in both directions: with levels of two names and one that no filter has, a filter that is not
// covered matches some topic of few levels that the rule does not.
func TestCoveringIsMatchingAllThatIsMatched(t *testing.T) {
	filters := rapid.StringMatching(`(\+|\$|[ab]?)(/(\+|[ab]?)){0,2}(/#)?|#`).
		Filter(func(s string) bool { return s != "" && s != "/#" }) // above "/#" would be a topic without a name, which the rule takes for one
	topics := topicsOf([]string{"", "a", "b", "$", "z"}, 5)
	rapid.Check(t, func(t *rapid.T) {
		rule, wanted := filters.Draw(t, "rule"), filters.Draw(t, "wanted")
		covers, beyond := CoversFilter(rule, wanted), ""
		for _, topic := range topics {
			if MatchFilter(wanted, topic) && !MatchFilter(rule, topic) {
				beyond = topic
				break
			}
		}
		if covers != (beyond == "") {
			t.Fatalf("CoversFilter(%q, %q) = %v; matched by the second alone: %q", rule, wanted, covers, beyond)
		}
	})
}

// topicsOf are all topics of the levels, up to a depth.
func topicsOf(levels []string, depth int) (all []string) {
	last := []string{""}
	for i := range depth {
		var next []string
		for _, above := range last {
			for _, level := range levels {
				topic := level
				if i > 0 {
					topic = above + "/" + level
				}
				next = append(next, topic)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestMatchingAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		MatchFilter("/sys/+/+/thing/#", "/sys"+own+"/thing/event/property/post")
		CoversFilter("/sys/+/+/thing/#", "/sys"+own+"/thing/event/+/post_reply")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// matchByRegexp is another way to the same answer, for valid filters.
func matchByRegexp(filter, topic string) bool {
	if filter == "" || topic == "" || topic[0] == '$' && strings.ContainsAny(filter[:1], "+#") {
		return false
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch level {
		case "+":
			levels[i] = `[^/]*`
		case "#":
			levels[i] = `.*`
		default:
			levels[i] = regexp.QuoteMeta(level)
		}
	}
	pattern := strings.Join(levels, "/")
	if above, found := strings.CutSuffix(pattern, "/.*"); found {
		pattern = above + `(/.*)?`
	}
	return regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(topic)
}
