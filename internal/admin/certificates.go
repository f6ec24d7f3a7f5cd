package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
)

// Root is a certificate that all devices trust.
type Root struct {
	Name    string
	Expires time.Time
}

var (
	leafEnds = describe("link_certificate_expiry_timestamp_seconds",
		"When the first of the certificates that servers show on the devices' links expires; missing while no link has one.")
	rootEnds = describe("link_root_expiry_timestamp_seconds",
		"When the first of the roots by which the devices' links are trusted expires; missing while no link has one.")
	trustEnds = describe("trusted_root_expiry_timestamp_seconds",
		"When a root that is trusted for all devices expires, whether a link needs it or not.", "root")
)

func (s sink) certificates(links conn.Certificates, trusted []Root) {
	s.timestamp(leafEnds, links.Leaf)
	s.timestamp(rootEnds, links.Root)
	ends := map[string]time.Time{} // two roots of one name show as one
	for _, r := range trusted {
		name := text(r.Name)
		if at, twice := ends[name]; !twice || r.Expires.Before(at) {
			ends[name] = r.Expires
		}
	}
	for name, at := range ends {
		s.timestamp(trustEnds, at, name)
	}
}

// timestamp shows a time that there is.
func (s sink) timestamp(d *prometheus.Desc, at time.Time, labels ...string) {
	if !at.IsZero() {
		s.gauge(d, float64(at.Unix()), labels...)
	}
}
