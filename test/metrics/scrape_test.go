package metrics

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scrape is the metrics of a page.
type scrape struct {
	text     string
	families map[string]*family
	samples  map[string]float64 // by name and labels, as they are written
}

// family is one metric, as it is described.
type family struct {
	kind, help string
	labels     map[string]bool // of its samples; "le" is not counted
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$`)
	labelName  = regexp.MustCompile(`[{,]([a-zA-Z_][a-zA-Z0-9_]*)="`)
)

// read reads a page in the text format.
func read(t *testing.T, text string) *scrape {
	t.Helper()
	s := &scrape{text: text, families: map[string]*family{}, samples: map[string]float64{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if words := strings.SplitN(line, " ", 4); len(words) == 4 && words[0] == "#" {
			f := s.families[words[2]]
			if f == nil {
				f = &family{labels: map[string]bool{}}
				s.families[words[2]] = f
			}
			if words[1] == "TYPE" {
				f.kind = words[3]
			} else {
				f.help = words[3]
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %q is none of the text format", line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		s.samples[m[1]+m[2]] = value
		f := s.family(m[1])
		if f == nil {
			t.Fatalf("%s has no description", m[1])
		}
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" && l[1] != "quantile" {
				f.labels[l[1]] = true
			}
		}
	}
	return s
}

// family is the metric that a sample's name belongs to; nil when there is none.
func (s *scrape) family(sample string) *family {
	if f := s.families[sample]; f != nil {
		return f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, found := strings.CutSuffix(sample, suffix); found {
			if f := s.families[name]; f != nil && (f.kind == "histogram" || f.kind == "summary") {
				return f
			}
		}
	}
	return nil
}

// ours names our own metrics, in order.
func (s *scrape) ours() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.families)) {
		if strings.HasPrefix(name, "linkkit_sidecar_") {
			names = append(names, name)
		}
	}
	return names
}
