package compare

import (
	"math"
	"slices"
	"strings"
)

// Target is a figure of a comparison, and what it should be.
type Target struct {
	Comparison string
	What       string
	// Over and Under name figures as "side.figure"; each is a sum. The target's figure is Over by Under, in each repetition; Over alone
	// when there is no Under.
	Over, Under []string
	// AtMost or AtLeast is the target; Aim is what would be better still.
	AtMost, AtLeast, Aim float64
	Unit                 string // "×" for ratios
	Scale                float64
}

// Verdict is what became of a target.
type Verdict struct {
	Comparison string  `json:"comparison"`
	What       string  `json:"what"`
	Figure     float64 `json:"figure"` // the median of all repetitions
	Least      float64 `json:"least"`
	Most       float64 `json:"most"`
	Limit      string  `json:"limit"`
	Unit       string  `json:"unit"`
	Reached    bool    `json:"reached"`
	Aim        string  `json:"aim,omitempty"` // reached, or missed
}

// Judge says what became of the targets of a comparison.
func Judge(o Outcome) (all []Verdict) {
	for _, t := range Targets {
		if t.Comparison != o.Name {
			continue
		}
		var figures []float64
		for _, r := range o.Repetitions {
			figures = append(figures, t.of(r))
		}
		all = append(all, t.judge(figures))
	}
	return all
}

func (t Target) of(r Repetition) float64 {
	figure := sum(r, t.Over)
	if len(t.Under) > 0 {
		figure /= sum(r, t.Under)
	}
	if t.Scale != 0 {
		figure *= t.Scale
	}
	return figure
}

// sum is NaN when a figure is missing: a target that cannot be judged is missed.
func sum(r Repetition, names []string) (total float64) {
	for _, name := range names {
		side, figure, _ := strings.Cut(name, ".")
		value, found := r[side][figure]
		if !found {
			return math.NaN()
		}
		total += value
	}
	return total
}

func (t Target) judge(figures []float64) Verdict {
	v := Verdict{
		Comparison: t.Comparison, What: t.What, Unit: t.Unit, Figure: Median(figures), Least: slices.Min(figures), Most: slices.Max(figures),
	}
	if t.AtMost > 0 {
		v.Limit, v.Reached = "≤ "+Number(t.AtMost), v.Figure <= t.AtMost
	} else {
		v.Limit, v.Reached = "≥ "+Number(t.AtLeast), v.Figure >= t.AtLeast
	}
	if t.Aim > 0 {
		v.Aim = "missed " + Number(t.Aim)
		if t.AtMost > 0 && v.Figure <= t.Aim || t.AtLeast > 0 && v.Figure >= t.Aim {
			v.Aim = "reached " + Number(t.Aim)
		}
	}
	return v
}

// Median of some figures; NaN of none.
func Median(figures []float64) float64 {
	if len(figures) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

func (v Verdict) String() string {
	word := "reached"
	if !v.Reached {
		word = "MISSED "
	}
	s := word + " " + v.What + ": " + Number(v.Figure) + " " + v.Unit + " (" + Number(v.Least) + " … " + Number(v.Most) + "), limit " + v.Limit
	if v.Aim != "" {
		s += ", aim " + v.Aim
	}
	return s
}
