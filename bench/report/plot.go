package report

import (
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/compare"
)

// plots are what is drawn of each curve, each with the figures that share its axis.
var plots = []struct {
	name, axis string
	figures    []string
}{
	{"throughput", "messages a second", []string{"messages_per_second"}},
	{"latency", "microseconds", []string{"p50_us", "p99_us"}},
	{"memory", "MB", []string{"pss_mb", "pss_mb_with_traffic"}},
	{"cpu", "microseconds of CPU for each message", []string{"sidecar_cpu_us_per_message", "cpu_us_per_message"}},
	{"idle-cpu", "percent of one core, idle", []string{"idle_cpu_percent"}},
}

// draw draws a curve: one file for each plot that it has figures for.
func draw(dir string, c compare.Curve) error {
	for _, what := range plots {
		p := plot.New()
		p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.Of, what.axis
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
		p.Legend.Top, p.Legend.Left = true, true
		p.Add(plotter.NewGrid())
		var lines []any
		for _, name := range what.figures {
			if points := line(c, name); len(points) > 1 {
				lines = append(lines, strings.ReplaceAll(name, "_", " "), points)
			}
		}
		if len(lines) == 0 {
			continue
		}
		if err := plotutil.AddLinePoints(p, lines...); err != nil {
			return err
		}
		if err := p.Save(16*vg.Centimeter, 9*vg.Centimeter, filepath.Join(dir, c.Name+"-"+what.name+".svg")); err != nil {
			return err
		}
	}
	return nil
}

// line leaves out what has no place on a logarithmic axis.
func line(c compare.Curve, figure string) (points plotter.XYs) {
	for _, p := range c.Points {
		if y := p.Figures[figure]; y > 0 {
			points = append(points, plotter.XY{X: p.X, Y: y})
		}
	}
	return points
}
