package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile     = "../../deploy/prometheus/linkkit-sidecar.rules.yaml"
	rulesTestFile = "../../deploy/prometheus/linkkit-sidecar.rules_test.yaml"
	dashboardFile = "../../deploy/grafana/linkkit-sidecar.json"
)

type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	data, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestEveryAlertFiresWhenItShouldAndNotBefore(t *testing.T) {
	promtool(t, "", "check", "rules", rulesFile)
	promtool(t, "", "test", "rules", rulesTestFile)
	tests, err := os.ReadFile(rulesTestFile)
	if err != nil {
		t.Fatal(err)
	}
	all := alerts(t)
	if len(all) < 20 {
		t.Errorf("there are only %d alerts", len(all))
	}
	for _, a := range all {
		if fires := fmt.Sprintf(`labels: 'ALERTS{alertname=%q,alertstate="firing"`, a.Alert); !strings.Contains(string(tests), fires) {
			t.Errorf("no test makes %s fire", a.Alert)
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		for _, must := range []string{"summary", "description", "action"} {
			if len(a.Annotations[must]) < 20 {
				t.Errorf("%s has no %s", a.Alert, must)
			}
		}
	}
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

type dashboard struct {
	UID        string  `json:"uid"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	data, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expressions are those of all panels, with Grafana's variables filled in as Grafana does.
func (d dashboard) expressions() (all []string) {
	fill := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, fill.Replace(target.Expr))
		}
	}
	return all
}

func TestTheDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	rows, ids, taken := []string{}, map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
		} else if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d (%q) lacks a title, a description or a query", p.ID, p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, lies := taken[[2]int{x, y}]; lies || x > 23 {
					t.Fatalf("%q lies over %q or the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if want := []string{"Now", "Links", "Publish", "Outbox", "Inbox", "Events and the disk", "Callers", "Process"}; !slices.Equal(rows, want) {
		t.Errorf("its rows are %q", rows)
	}
	// Every expression, as a recording rule, since promtool reads no dashboards.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, e := range d.expressions() {
		if strings.Contains(e, "$") {
			t.Errorf("%s has a variable that nobody fills in", e)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&rules, "  - {record: 'panel:query:%d', expr: %s}\n", i, text)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}

// TestWhatIsDeployedIsMadeOfMetricsThatThereAre compares dashboard, alerts and documentation with a page of the binary.
func TestWhatIsDeployedIsMadeOfMetricsThatThereAre(t *testing.T) {
	w := start(t, "--metrics-per-device", "10")
	w.busy()
	s := w.scrape()
	promtool(t, s.text, "check", "metrics")
	used := map[string]bool{}
	note := func(expression string) {
		for _, name := range names(expression) {
			used[name] = true
		}
	}
	for _, e := range readDashboard(t).expressions() {
		note(e)
		for _, wrong := range s.judge(e) {
			t.Errorf("dashboard: %s: %s", e, wrong)
		}
	}
	for _, a := range alerts(t) {
		note(a.Expr)
		for _, wrong := range s.judge(a.Expr) {
			t.Errorf("%s: %s", a.Alert, wrong)
		}
		for _, text := range a.Annotations {
			for _, wrong := range s.judge(text) {
				t.Errorf("%s: %s", a.Alert, wrong)
			}
		}
	}
	if len(used) < 60 {
		t.Errorf("only %d metrics are used", len(used))
	}
	compareWithTheReference(t, s)
	if unbounded := len(s.samples); unbounded > 2000 {
		t.Errorf("the page has %d time series", unbounded)
	}
}

var referenceRow = regexp.MustCompile("^\\| `(linkkit_sidecar_[a-z0-9_]+)` \\| (\\w+) \\| (.*) \\| (.*) \\|$")

// compareWithTheReference keeps docs/metrics.md true.
func compareWithTheReference(t *testing.T, s *scrape) {
	t.Helper()
	reference, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(reference)) {
		m := referenceRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		told[m[1]] = true
		f := s.families[m[1]]
		if f == nil {
			t.Errorf("docs/metrics.md tells of %s, which there is not", m[1])
			continue
		}
		labels := map[string]bool{}
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[3], -1) {
			labels[l[1]] = true
		}
		if m[2] != f.kind || m[4] != f.help || !maps.Equal(labels, f.labels) {
			t.Errorf("docs/metrics.md says of %s: %s, %v, %q\nthe page says: %s, %v, %q", m[1], m[2], labels, m[4], f.kind, f.labels, f.help)
		}
	}
	for _, name := range s.ours() {
		if !told[name] {
			t.Errorf("docs/metrics.md does not tell of %s", name)
		}
	}
}
