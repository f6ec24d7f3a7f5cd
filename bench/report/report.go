// Package report writes what a run has found: as JSON for programs, as Markdown and plots for people.
package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/compare"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
)

// Report is one run.
type Report struct {
	Began    time.Time         `json:"began"`
	Version  string            `json:"version"` // of the command under test
	Quick    bool              `json:"quick,omitempty"`
	Machine  lab.Machine       `json:"machine"`
	Verdicts []compare.Verdict `json:"targets"`
	Outcomes []compare.Outcome `json:"comparisons"`
	Curves   []compare.Curve   `json:"growth"`
}

// Write writes the report to a directory.
func (r Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(data, '\n'), 0o600); err != nil {
		return err
	}
	for _, c := range r.Curves {
		if err := draw(dir, c); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.Markdown()), 0o600)
}
