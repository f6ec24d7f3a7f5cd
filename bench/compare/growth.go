package compare

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// Growth is what becomes of figures when there is more of something.
type Growth struct {
	Name  string
	Title string
	Of    string // what there is more of
	Steps []float64
	// Few are the steps of a quick run.
	Few []float64
	// Costs are figures that must not grow faster than linearly, each with the value from which on it is more than noise.
	Costs map[string]float64
	Look  func(l *lab.Lab, x float64) (program.Figures, error)
}

// Curve is what a Growth has found.
type Curve struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Of     string  `json:"of"`
	Points []Point `json:"points"`
}

// Point has the figures at one place.
type Point struct {
	X       float64         `json:"x"`
	Figures program.Figures `json:"figures"`
}

// Grow looks at each step.
func Grow(ctx context.Context, o lab.Options, g Growth, progress io.Writer) (Curve, error) {
	curve, steps := Curve{Name: g.Name, Title: g.Title, Of: g.Of}, g.Steps
	if o.Quick {
		steps = g.Few
	}
	for _, x := range steps {
		l, err := lab.New(ctx, o)
		if err != nil {
			return curve, err
		}
		figures, err := g.Look(l, x)
		l.Close()
		if err != nil {
			return curve, fmt.Errorf("%s, %s %v: %w", g.Name, g.Of, x, err)
		}
		curve.Points = append(curve.Points, Point{x, figures})
		_, _ = fmt.Fprint(progress, ".") // it is for people alone
	}
	return curve, ctx.Err()
}

// steepest is the most that a step may rise: 1 is linear, and figures have noise.
const steepest = 1.15

// Judge says for each cost how it grows: the exponent of its steepest step.
func (g Growth) Judge(c Curve) (all []Verdict) {
	for _, cost := range slices.Sorted(maps.Keys(g.Costs)) {
		exponent, noise := 0.0, g.Costs[cost]
		for i := range len(c.Points) - 1 {
			from, to := c.Points[i], c.Points[i+1]
			if y := from.Figures[cost]; y > noise {
				exponent = max(exponent, math.Log(to.Figures[cost]/y)/math.Log(to.X/from.X))
			}
		}
		t := Target{Comparison: c.Name, What: fmt.Sprintf("%s by %s, exponent of the steepest step (1 is linear)", cost, c.Of), AtMost: steepest}
		all = append(all, t.judge([]float64{exponent}))
	}
	return all
}

// Growths are all of them.
var Growths = []Growth{
	{
		Name: "growth-devices", Title: "More devices, idle and with 64 callers that publish", Of: "devices",
		Steps: []float64{1, 10, 100, 1000, 3000}, Few: []float64{1, 3}, Look: moreDevices,
		Costs: map[string]float64{"pss_mb": 0, "idle_cpu_percent": 0.5, "p50_us": 0, "sidecar_cpu_us_per_message": 0},
	},
	{
		Name: "growth-apps", Title: "More apps, each of which publishes one message at a time", Of: "apps",
		Steps: []float64{1, 10, 100}, Few: []float64{1, 3}, Look: moreApps,
		Costs: map[string]float64{"pss_mb": 0, "p50_us": 0, "sidecar_cpu_us_per_message": 0},
	},
	{
		Name: "growth-payload", Title: "Larger payloads, 16 callers", Of: "bytes",
		Steps: []float64{64, 256, 1024, 4096, 16384, 65536, 262144}, Few: []float64{64, 262144}, Look: largerPayloads,
		Costs: map[string]float64{"pss_mb": 0, "p50_us": 0, "sidecar_cpu_us_per_message": 0},
	},
}

func moreDevices(l *lab.Lab, x float64) (program.Figures, error) {
	devices := int(x)
	state, err := l.Prepare(devices)
	if err != nil {
		return nil, err
	}
	s, err := l.StartWith(state, devices, lab.SidecarOptions{})
	if err != nil {
		return nil, err
	}
	if err := l.Rest(2 * time.Second); err != nil {
		return nil, err
	}
	const idle = 15 * time.Second // /proc tells hundredths of a second, and pings come in waves
	before, err := s.CPU()
	if err != nil {
		return nil, err
	}
	if err := l.Rest(idle); err != nil {
		return nil, err
	}
	after, err := s.CPU()
	if err != nil {
		return nil, err
	}
	pss, err := s.PSS()
	if err != nil {
		return nil, err
	}
	p := at(l.Params(), s.Address)
	p.Devices, p.Callers = devices, 64
	f, err := profiled(l, s, p, "grpc-publish")()
	if err != nil {
		return nil, err
	}
	f["idle_cpu_percent"], f["pss_mb"] = 100*(after-before).Seconds()/idle.Seconds(), pss/(1<<20)
	return f, withMemory(s, f, "pss_mb_with_traffic")
}

func moreApps(l *lab.Lab, x float64) (program.Figures, error) {
	return publishing(l, func(p *program.Params) { p.Apps, p.Callers = int(x), int(x) })
}

func largerPayloads(l *lab.Lab, x float64) (program.Figures, error) {
	return publishing(l, func(p *program.Params) { p.Payload, p.Callers = int(x), 16 })
}

// publishing publishes over one device.
func publishing(l *lab.Lab, change func(*program.Params)) (program.Figures, error) {
	s, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	p := at(l.Params(), s.Address)
	change(&p)
	f, err := profiled(l, s, p, "grpc-publish")()
	if err != nil {
		return nil, err
	}
	return f, withMemory(s, f, "pss_mb")
}

func withMemory(s *lab.Sidecar, f program.Figures, name string) error {
	pss, err := s.PSS()
	f[name] = pss / (1 << 20)
	return err
}
