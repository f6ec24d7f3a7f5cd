package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/compare"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/report"
)

// options are those of a run that only shows that everything works. This binary has the programs.
var options = lab.Options{Quick: true}

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "program" {
		main()
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "linkkit-bench-test")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	options.Sidecar, options.Observed, options.Self = filepath.Join(dir, "linkkit-sidecar"), filepath.Join(dir, "observed"), os.Args[0]
	for file, pkg := range map[string]string{
		options.Sidecar: "github.com/linkkit-sidecar/linkkit-sidecar/cmd/linkkit-sidecar", options.Observed: "./observed",
	} {
		c := exec.Command("go", "build", "-o", file, pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := c.CombinedOutput(); err != nil {
			panic(string(said))
		}
	}
	return m.Run()
}

// TestEachComparisonRuns has each comparison measure for a moment, and finds the figures that targets need. It judges no speed.
func TestEachComparisonRuns(t *testing.T) {
	judged := 0
	for _, c := range compare.All {
		t.Run(c.Name, func(t *testing.T) {
			var progress bytes.Buffer
			outcome, err := compare.Run(t.Context(), options, c, 1, &progress)
			if err != nil {
				t.Fatal(err)
			}
			if progress.Len() != len(outcome.Sides) || len(outcome.Sides) == 0 {
				t.Errorf("%d sides ran, of %v", progress.Len(), outcome.Sides)
			}
			for _, v := range compare.Judge(outcome) {
				judged++
				if math.IsNaN(v.Figure) || math.IsInf(v.Figure, 0) || v.Figure < 0 {
					t.Errorf("%s: the figure is %v", v.What, v.Figure)
				}
			}
			if _, err := json.Marshal(outcome); err != nil {
				t.Error(err)
			}
			if text := (report.Report{Outcomes: []compare.Outcome{outcome}}).Markdown(); !bytes.Contains([]byte(text), []byte("| "+outcome.Sides[0]+" |")) {
				t.Errorf("the report does not tell of %s:\n%s", outcome.Sides[0], text)
			}
		})
	}
	if judged != len(compare.Targets) {
		t.Errorf("%d of %d targets belong to a comparison", judged, len(compare.Targets))
	}
}

// TestEachGrowthRuns has each growth look at its ends, and draws it.
func TestEachGrowthRuns(t *testing.T) {
	for _, g := range compare.Growths {
		t.Run(g.Name, func(t *testing.T) {
			curve, err := compare.Grow(t.Context(), options, g, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range curve.Points {
				for cost := range g.Costs {
					if _, found := p.Figures[cost]; !found {
						t.Errorf("%s is missing at %v %s", cost, p.X, g.Of)
					}
				}
			}
			if n := len(g.Judge(curve)); n != len(g.Costs) {
				t.Errorf("%d of %d costs were judged", n, len(g.Costs))
			}
			dir := t.TempDir()
			if err := (report.Report{Curves: []compare.Curve{curve}}).Write(dir); err != nil {
				t.Fatal(err)
			}
			if drawn, _ := filepath.Glob(filepath.Join(dir, "*.svg")); len(drawn) < 3 {
				t.Errorf("only %v were drawn", drawn)
			}
		})
	}
}

// TestTheGeneratedPartOfAPageIsReplaced keeps what people wrote around it.
func TestTheGeneratedPartOfAPageIsReplaced(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	shipped, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"an older one", "this one"} {
		if err := (report.Report{Version: version}).Insert(page); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(page)
	for what, times := range map[string]int{"# Performance\n": 1, "an older one": 0, "this one": 1, "generated: make bench": 1, "end of generated": 1} {
		if n := bytes.Count(got, []byte(what)); n != times {
			t.Errorf("%q is there %d times", what, n)
		}
	}
}
