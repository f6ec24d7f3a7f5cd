package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// metric is the value of a metric whose labels, joined by commas in the order of their names, are as given.
func metric(t *testing.T, r *prometheus.Registry, name, labels string) (value float64, found bool) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values := make([]string, len(m.GetLabel()))
			for i, l := range m.GetLabel() {
				values[i] = l.GetValue()
			}
			if f.GetName() == name && strings.Join(values, ",") == labels {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func want(t *testing.T, r *prometheus.Registry, name, labels string, value float64) {
	t.Helper()
	if got, found := metric(t, r, name, labels); !found || got != value {
		t.Errorf("%s{%s} is %v (there: %v), want %v", name, labels, got, found, value)
	}
}

func TestCallersAreCountedOverAllServers(t *testing.T) {
	registry, log := prometheus.NewRegistry(), newLog(t)
	policy, err := NewPolicy([]Rule{{Callers: []string{"*"}, Operations: []string{"read"}}})
	if err != nil {
		t.Fatal(err)
	}
	over := func(o *Options) { o.Address, o.TCP, o.Metrics = "127.0.0.1:0", TCP{Insecure: true}, registry }
	one := serveLog(t, log, over, func(o *Options) { o.Policy, o.Limits.Streams = policy, 1 })
	two := serveLog(t, log, over)
	if err := list(t, one.client()); err != nil {
		t.Fatal(err)
	}
	if err := list(t, two.client()); err != nil {
		t.Fatal(err)
	}
	client := one.client()
	if _, err := client.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}); refusalOf(t, err).code != codes.PermissionDenied {
		t.Fatal(err)
	}
	events, err := client.Events(t.Context(), &pb.EventsRequest{})
	if err == nil {
		_, err = events.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	second, err := client.Events(t.Context(), &pb.EventsRequest{})
	if err == nil {
		_, err = second.Recv()
	}
	refused(t, err, codes.ResourceExhausted, "CALLER_LIMIT")
	want(t, registry, "linkkit_sidecar_caller_calls_total", "loopback", 3)
	want(t, registry, "linkkit_sidecar_caller_calls_in_flight", "loopback", 1)
	want(t, registry, "linkkit_sidecar_caller_streams", "loopback", 1)
	want(t, registry, "linkkit_sidecar_caller_refusals_total", "loopback,streams", 1)
	want(t, registry, "linkkit_sidecar_caller_refusals_total", "loopback,policy", 1)
	want(t, registry, "linkkit_sidecar_caller_refusals_total", "loopback,requests", 0)
	if _, shown := metric(t, registry, "linkkit_sidecar_grpc_certificate_expiry_timestamp_seconds", ""); shown {
		t.Error("without TLS there is a certificate")
	}
}

func TestACallerWithoutTheTokenIsUnknown(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := serve(t, func(o *Options) {
		o.Address, o.TCP, o.Metrics = "127.0.0.1:0", TCP{TokenFile: tokenFile(t, goodToken, 0o600)}, registry
	})
	want(t, registry, "linkkit_sidecar_caller_refusals_total", "unknown,unknown", 0)
	refused(t, list(t, w.client()), codes.Unauthenticated, "CALLER_UNKNOWN")
	want(t, registry, "linkkit_sidecar_caller_refusals_total", "unknown,unknown", 1)
	if _, shown := metric(t, registry, "linkkit_sidecar_caller_calls_total", "unknown"); shown {
		t.Error("calls were let through")
	}
}

func TestTheEndOfTheCertificateIsShown(t *testing.T) {
	registry, a := prometheus.NewRegistry(), newAuthority(t)
	cert, key := a.issue("server")
	w := serve(t, func(o *Options) {
		o.Address, o.TCP, o.Metrics = "127.0.0.1:0", TCP{CertFile: cert, KeyFile: key, ClientCAFile: a.file}, registry
	})
	want(t, registry, "linkkit_sidecar_grpc_certificate_expiry_timestamp_seconds", "", float64(w.server.certificate.NotAfter.Unix()))
}

// TestSoManyCallersHaveNames: nobody can make as many time series as there are numbers of users.
func TestSoManyCallersHaveNames(t *testing.T) {
	m := newMeter(Limits{}.withDefaults())
	for uid := range 3 * namedCallers {
		u, err := m.request(Caller{Kind: UnixCaller, UID: uint32(uid)})
		if err != nil {
			t.Fatal(err)
		}
		u.begin()
	}
	tolls := map[string]*toll{}
	m.tell(tolls)
	if len(tolls) != namedCallers+1 || tolls["uid:0"].calls != 1 || tolls[otherCallers].calls != 2*namedCallers {
		t.Errorf("%d names, other callers: %+v", len(tolls), tolls[otherCallers])
	}
}

func TestCallersAreNamedAsInAPolicy(t *testing.T) {
	for want, c := range map[string]Caller{
		"uid:1000":            {Kind: UnixCaller, UID: 1000, GID: 5, PID: 7},
		"certificate:gateway": {Kind: CertificateCaller, Name: "gateway"},
		"certificate:" + strings.Repeat("é", 32): {Kind: CertificateCaller, Name: strings.Repeat("é", 99)},
		"certificate:x": {Kind: CertificateCaller, Name: "\xffx"},
		"token":         {Kind: TokenCaller},
		"loopback":      {Kind: LoopbackCaller},
		"unknown":       {},
	} {
		if got := c.label(); got != want {
			t.Errorf("%+v is %q, want %q", c, got, want)
		}
		if _, err := readCaller(want); err != nil && want != "unknown" {
			t.Errorf("a policy does not understand %q: %v", want, fmt.Sprint(err))
		}
	}
}
