package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/compare"
)

// Markdown is the machine, the targets, and the figures of each side.
func (r Report) Markdown() string {
	var b strings.Builder
	r.summary(&b)
	for _, o := range r.Outcomes {
		fmt.Fprintf(&b, "\n**%s** (`%s`, %d repetitions, medians)\n\n", o.Title, o.Name, len(o.Repetitions))
		figures(&b, o)
	}
	for _, c := range r.Curves {
		fmt.Fprintf(&b, "\n**%s** (`%s`)\n\n", c.Title, c.Name)
		curve(&b, c)
	}
	return b.String()
}

// summary is the machine and the targets.
func (r Report) summary(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "%s, on %d cores of %s, %s of memory, Linux %s, %s, %s; load before the run %s. The sidecar is %s.\n\n",
		r.Began.Format("2006-01-02 15:04 MST"), m.Cores, m.CPU, m.Memory, m.Kernel, m.Go, m.Broker, m.Load, r.Version)
	b.WriteString("| Target | | Limit | Figure | Least … most |\n|---|---|---|---|---|\n")
	for _, v := range r.Verdicts {
		reached := "reached"
		if !v.Reached {
			reached = "**missed**"
		}
		if v.Aim != "" {
			reached += " (aim: " + v.Aim + ")"
		}
		fmt.Fprintf(b, "| %s | %s | %s %s | %s %s | %s … %s |\n", v.What, reached, v.Limit, v.Unit,
			compare.Number(v.Figure), v.Unit, compare.Number(v.Least), compare.Number(v.Most))
	}
}

// curve has a line for each point.
func curve(b *strings.Builder, c compare.Curve) {
	o := compare.Outcome{Repetitions: []compare.Repetition{{}}}
	for _, p := range c.Points {
		side := compare.Number(p.X) + " " + c.Of
		if p.X < 1000 {
			side = fmt.Sprintf("%.0f %s", p.X, c.Of)
		}
		o.Sides = append(o.Sides, side)
		o.Repetitions[0][side] = p.Figures
	}
	figures(b, o)
}

// figures has a line for each side and a column for each figure that any side has.
func figures(b *strings.Builder, o compare.Outcome) {
	columns := map[string]bool{}
	for _, r := range o.Repetitions {
		for _, f := range r {
			for name := range f {
				columns[name] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(columns))
	fmt.Fprintf(b, "| | %s |\n|---%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for _, side := range o.Sides {
		fmt.Fprintf(b, "| %s |", side)
		for _, name := range names {
			var all []float64
			for _, r := range o.Repetitions {
				if x, found := r[side][name]; found {
					all = append(all, x)
				}
			}
			cell := ""
			if len(all) > 0 {
				cell = compare.Number(compare.Median(all))
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
}
