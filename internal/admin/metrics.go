package admin

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/measure"
)

// known is every metric of this room.
var known []*prometheus.Desc

// describe makes the description of linkkit_sidecar_NAME.
func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("linkkit_sidecar_"+name, help, labels, nil)
	known = append(known, d)
	return d
}

// collector reads the rooms' figures when somebody asks for the metrics.
type collector struct{ o Options }

var buildInfo = describe("build_info", "Always 1; the version is a label.", "version")

// Describe implements prometheus.Collector.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range known {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	s, now := sink(to), time.Now()
	s.gauge(buildInfo, 1, text(c.o.Version))
	f := c.o.Devices.Figures()
	s.links(f)
	s.certificates(f.Certificates, c.o.Roots)
	s.messages(f)
	s.outboxes(f, now)
	s.inboxes(f.Inbox, now)
	database := c.o.Store.Figures()
	s.events(c.o.Events.Figures(), database)
	s.database(database)
	if c.o.PerDevice > 0 {
		s.devices(c.o.Devices.Devices(), c.o.PerDevice, now)
	}
}

// sink is where metrics go. Descriptions and values match, which the tests see to, so the constructors do not fail.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (s sink) histogram(d *prometheus.Desc, h measure.Snapshot, labels ...string) {
	s <- prometheus.MustNewConstHistogram(d, h.Count, h.Sum, h.Buckets, labels...)
}

// age is how many seconds ago a time was; 0 when there is none.
func age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

// word makes a label's value of what people read: "closed by server" is closed_by_server.
func word(words string) string { return strings.ReplaceAll(words, " ", "_") }

// text is a label's value that somebody else chose. One that is not UTF-8 would spoil the whole page.
func text(value string) string { return strings.ToValidUTF8(value, "?") }
