package metrics

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`\b(?:linkkit_sidecar|grpc_server|process|go)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
)

// ofScraping are labels that Prometheus adds; le is a histogram's own.
var ofScraping = []string{"job", "instance", "le"}

// names are the metrics that an expression names.
func names(expression string) []string {
	return metricName.FindAllString(quoted.ReplaceAllString(expression, `""`), -1)
}

// judge tells what an expression names that the page does not have: metrics, labels, and values of labels.
func (s *scrape) judge(expression string) (wrong []string) {
	labels := map[string]bool{}
	for _, name := range names(expression) {
		f := s.family(name)
		if f == nil {
			wrong = append(wrong, "there is no metric "+name)
			continue
		}
		for l := range f.labels {
			labels[l] = true
		}
	}
	for _, m := range selector.FindAllStringSubmatch(expression, -1) {
		f := s.family(m[1])
		if f == nil {
			continue // told above, if it is one of ours
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			switch {
			case slices.Contains(ofScraping, l[1]):
			case !f.labels[l[1]]:
				wrong = append(wrong, m[1]+" has no label "+l[1])
			case l[2] == "=" || l[2] == "=~":
				for value := range strings.SplitSeq(l[3], "|") {
					if !s.hasValue(m[1], l[1], value) {
						wrong = append(wrong, m[1]+" has no "+l[1]+" "+value)
					}
				}
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expression, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if l = strings.TrimSpace(l); !labels[l] && !slices.Contains(ofScraping, l) {
				wrong = append(wrong, "it groups by "+l+", which none of its metrics has")
			}
		}
	}
	return wrong
}

// hasValue reports whether a sample has the label's value.
func (s *scrape) hasValue(name, label, value string) bool {
	for sample := range s.samples {
		if strings.HasPrefix(sample, name+"{") && strings.Contains(sample, label+`="`+value+`"`) {
			return true
		}
	}
	return false
}

// TestWhatAPageDoesNotHaveIsFound keeps the judge honest.
func TestWhatAPageDoesNotHaveIsFound(t *testing.T) {
	s := read(t, `# HELP linkkit_sidecar_a_total A count.
# TYPE linkkit_sidecar_a_total counter
linkkit_sidecar_a_total{cause="x"} 1
# HELP linkkit_sidecar_h_seconds Some times.
# TYPE linkkit_sidecar_h_seconds histogram
linkkit_sidecar_h_seconds_bucket{le="1"} 1
linkkit_sidecar_h_seconds_bucket{le="+Inf"} 1
linkkit_sidecar_h_seconds_sum 0.5
linkkit_sidecar_h_seconds_count 1
`)
	for expression, want := range map[string]string{
		`sum by (cause, job) (rate(linkkit_sidecar_a_total{job="x", cause=~"x"}[5m]))`: "",
		`histogram_quantile(0.9, sum by (le) (linkkit_sidecar_h_seconds_bucket))`:      "",
		`up{job=~".*linkkit_sidecar_b.*"} == 0`:                                        "",
		`linkkit_sidecar_a`:                                                            "there is no metric linkkit_sidecar_a",
		`linkkit_sidecar_h_seconds_total`:                                              "there is no metric linkkit_sidecar_h_seconds_total",
		`linkkit_sidecar_a_total{reason="x"}`:                                          "linkkit_sidecar_a_total has no label reason",
		`linkkit_sidecar_a_total{cause=~"x|y"}`:                                        "linkkit_sidecar_a_total has no cause y",
		`sum by (reason) (linkkit_sidecar_a_total)`:                                    "it groups by reason, which none of its metrics has",
		`linkkit_sidecar_h_seconds_bucket{cause="x", le="+1"}`:                         "linkkit_sidecar_h_seconds_bucket has no label cause",
	} {
		if got := strings.Join(s.judge(expression), "; "); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}
