package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// devices counts all devices together: a label for each of thousands would cost more than it tells, and names are nobody's
// business here. Forgetting a device takes its counts away, which Prometheus takes for a restart.
type devices struct{ all func() []event.Status }

var (
	inState  = prometheus.NewDesc("linkkit_sidecar_devices", "Devices by state.", []string{"state"}, nil)
	takeover = prometheus.NewDesc("linkkit_sidecar_devices_takeover_suspected", "Devices as which another program seems to log in.", nil, nil)
	attempts = prometheus.NewDesc("linkkit_sidecar_attempts_total", "Attempts to log in.", nil, nil)
	connects = prometheus.NewDesc("linkkit_sidecar_connects_total", "Logins that the platform accepted.", nil, nil)
	refusals = prometheus.NewDesc("linkkit_sidecar_refusals_total", "Logins that the platform refused by a CONNACK code.", nil, nil)
	losses   = prometheus.NewDesc("linkkit_sidecar_losses_total", "Links lost, not counting those ended on request.", nil, nil)
	received = prometheus.NewDesc("linkkit_sidecar_received_bytes_total", "Bytes received on the devices' links, before TLS.", nil, nil)
	sent     = prometheus.NewDesc("linkkit_sidecar_sent_bytes_total", "Bytes sent on the devices' links, before TLS.", nil, nil)
)

func (devices) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inState, takeover, attempts, connects, refusals, losses, received, sent} {
		to <- d
	}
}

func (d devices) Collect(to chan<- prometheus.Metric) {
	states := map[event.State]int{}
	suspected := 0
	var sum event.Counters
	for _, s := range d.all() {
		states[s.State]++
		if s.TakeoverSuspected {
			suspected++
		}
		sum.Attempts += s.Counters.Attempts
		sum.Connects += s.Counters.Connects
		sum.Refusals += s.Counters.Refusals
		sum.Losses += s.Counters.Losses
		sum.BytesReceived += s.Counters.BytesReceived
		sum.BytesSent += s.Counters.BytesSent
	}
	for state := event.Idle; state <= event.Rejected; state++ {
		to <- prometheus.MustNewConstMetric(inState, prometheus.GaugeValue, float64(states[state]), state.String())
	}
	to <- prometheus.MustNewConstMetric(takeover, prometheus.GaugeValue, float64(suspected))
	for _, c := range []struct {
		desc *prometheus.Desc
		n    uint64
	}{
		{attempts, sum.Attempts},
		{connects, sum.Connects},
		{refusals, sum.Refusals},
		{losses, sum.Losses},
		{received, sum.BytesReceived},
		{sent, sum.BytesSent},
	} {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.n))
	}
}
