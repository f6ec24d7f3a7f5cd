// Package compare has the comparisons: what is run side by side, what it is measured by, and what the figures should be.
//
// The sides of a comparison take turns, so many repetitions, in one run on one machine; a ratio is taken within each repetition, and the
// median of these ratios is the figure. So whatever else the machine does weighs on all sides alike.
package compare

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// Side is one of those that are compared.
type Side struct {
	Name string
	Run  func() (program.Figures, error)
}

// Comparison is what is run side by side.
type Comparison struct {
	Name  string
	Title string
	// Repetitions at most; 0 is as many as are asked for. Fewer where one takes long and varies little.
	Repetitions int
	// Open starts what the sides need and stays while they take turns.
	Open func(l *lab.Lab) ([]Side, error)
}

// Outcome is what a comparison has found.
type Outcome struct {
	Name        string       `json:"name"`
	Title       string       `json:"title"`
	Sides       []string     `json:"sides"`
	Repetitions []Repetition `json:"repetitions"`
	Seconds     float64      `json:"seconds"` // that it took
}

// Repetition has the figures of each side.
type Repetition map[string]program.Figures

// Run runs a comparison.
func Run(ctx context.Context, o lab.Options, c Comparison, repetitions int, progress io.Writer) (Outcome, error) {
	began := time.Now()
	l, err := lab.New(ctx, o)
	if err != nil {
		return Outcome{}, err
	}
	defer l.Close()
	sides, err := c.Open(l)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Name: c.Name, Title: c.Title}
	for _, s := range sides {
		out.Sides = append(out.Sides, s.Name)
	}
	if c.Repetitions > 0 {
		repetitions = min(repetitions, c.Repetitions)
	}
	for i := range repetitions {
		r := Repetition{}
		for j := range sides {
			s := sides[(i+j)%len(sides)] // each is the first now and then
			if r[s.Name], err = s.Run(); err != nil {
				return out, fmt.Errorf("%s, %s: %w", c.Name, s.Name, err)
			}
			_, _ = fmt.Fprint(progress, ".") // it is for people alone
		}
		out.Repetitions = append(out.Repetitions, r)
	}
	out.Seconds = time.Since(began).Seconds()
	return out, ctx.Err()
}
