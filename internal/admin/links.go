package admin

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

var (
	inState    = describe("devices", "Devices by state.", "state")
	suspected  = describe("devices_takeover_suspected", "Devices as which another program seems to log in.")
	attempts   = describe("attempts_total", "Attempts to log in.")
	connects   = describe("connects_total", "Logins that the platform accepted.")
	refusals   = describe("refusals_total", "Logins that the platform refused, by the code of its CONNACK.", "code")
	failures   = describe("attempt_failures_total", "Attempts to log in that came to nothing before the platform answered, by cause.", "cause")
	losses     = describe("losses_total", "Links lost, by cause, not counting those ended on request.", "cause")
	takeovers  = describe("takeover_warnings_total", "Warnings that another program seems to log in as a device.")
	online     = describe("time_to_online_seconds", "How long devices took to come online, since they were to be or had lost their link.")
	received   = describe("received_bytes_total", "Bytes received on the devices' links, before TLS.")
	sent       = describe("sent_bytes_total", "Bytes sent on the devices' links, before TLS.")
	subscribed = describe("subscriptions", "Topic filters of devices that are online, by how they stand with the platform.", "state")
)

// What links are lost by, and attempts fail with. These are shown from the start, at 0, so that the first one is an increase.
var (
	lossCauses = []event.Cause{
		event.CauseProtocolViolation, event.CauseKeepaliveTimeout, event.CauseWriteTimeout, event.CauseClosedByServer,
		event.CauseTakeoverSuspected, event.CauseNetwork, event.CauseAckTimeout,
	}
	failureCauses = []event.Cause{
		event.CauseDNS, event.CauseDialRefused, event.CauseDialTimeout, event.CauseTLSUntrusted, event.CauseTLSNameMismatch,
		event.CauseTLSExpired, event.CauseTLSOther, event.CauseConnackTimeout, event.CauseProtocolViolation, event.CauseClosedByServer,
		event.CauseNetwork, event.CauseNoCredential, event.CauseStorage,
	}
)

func (s sink) links(f conn.Figures) {
	for state := event.Idle; state <= event.Rejected; state++ {
		s.gauge(inState, float64(f.States[state]), state.String())
	}
	s.gauge(suspected, float64(f.TakeoverSuspected))
	s.counter(attempts, f.Counters.Attempts)
	s.counter(connects, f.Counters.Connects)
	for _, r := range f.Refusals {
		code := strconv.Itoa(int(r.Code))
		if r.Code == conn.OtherCode {
			code = "other"
		}
		s.counter(refusals, r.Count, code)
	}
	s.causes(failures, f.Failures, failureCauses)
	s.causes(losses, f.Losses, lossCauses)
	s.counter(takeovers, f.Takeovers)
	s.histogram(online, f.TimeToOnline)
	s.counter(received, f.Counters.BytesReceived)
	s.counter(sent, f.Counters.BytesSent)
	s.gauge(subscribed, float64(f.Filters.Granted), "granted")
	s.gauge(subscribed, float64(f.Filters.Pending), "pending")
	s.gauge(subscribed, float64(f.Filters.Refused), "refused")
}

// causes shows the counts of these causes, and of others that there were.
func (s sink) causes(d *prometheus.Desc, counts []conn.CauseCount, always []event.Cause) {
	for _, c := range counts {
		if c.Count > 0 || slices.Contains(always, c.Cause) {
			s.counter(d, c.Count, word(c.Cause.String()))
		}
	}
}
