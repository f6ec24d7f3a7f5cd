package server

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	grpcmetrics "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
)

// countCalls makes the metrics of requests, or takes those that another server has made.
func (s *Server) countCalls(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	s.metrics = grpcmetrics.NewServerMetrics(grpcmetrics.WithServerHandlingTimeHistogram(
		grpcmetrics.WithHistogramBuckets([]float64{.0005, .002, .01, .05, .25, 1, 5, 30})))
	err := registry.Register(s.metrics)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if s.metrics, ok = already.ExistingCollector.(*grpcmetrics.ServerMetrics); ok {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("the metrics of requests cannot be registered: %w", err)
	}
	return nil
}

// show makes the registry show what the server counts of its callers, and until when its certificate holds.
func (s *Server) show(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	all := &callers{}
	if err := registry.Register(all); err != nil {
		already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
		if ok {
			all, ok = already.ExistingCollector.(*callers)
		}
		if !ok {
			return fmt.Errorf("the metrics of callers cannot be registered: %w", err)
		}
	}
	all.add(s)
	return nil
}

// refusalKind is why a call was refused before anything was done for it.
type refusalKind int

const (
	tooManyRequests refusalKind = iota
	tooManyStreams
	againstPolicy
	unknownCaller
	refusalKinds
)

func (k refusalKind) String() string {
	return [refusalKinds]string{"requests", "streams", "policy", "unknown"}[k]
}

// refusalReason tells whether an error is a refusal.
func refusalReason(err error) (refusalKind, bool) {
	if over, ok := errors.AsType[*overLimit](err); ok {
		return over.which, true
	}
	if _, ok := errors.AsType[*notPermitted](err); ok {
		return againstPolicy, true
	}
	return unknownCaller, errors.Is(err, errCallerUnknown)
}

// refused counts an error if it is a refusal.
func (m *meter) refused(c Caller, err error) {
	why, ok := refusalReason(err)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if why == unknownCaller { // what it says of itself counts for nothing
		m.unknown++
		return
	}
	m.usage(c).refusals[why].Add(1)
}

const (
	// namedCallers is how many callers have metrics of their own: enough for the programs of a gateway, and a bound for what somebody
	// with many certificates can do to whoever stores the metrics.
	namedCallers = 50
	otherCallers = "other"
	// maxLabel is how many bytes of a certificate's name are shown.
	maxLabel = 64
)

// label names a caller as a policy does.
func (c Caller) label() string {
	switch c.Kind {
	case UnixCaller:
		return "uid:" + strconv.FormatUint(uint64(c.UID), 10)
	case CertificateCaller:
		return "certificate:" + strings.ToValidUTF8(c.Name[:min(len(c.Name), maxLabel)], "")
	case TokenCaller:
		return "token"
	case LoopbackCaller:
		return "loopback"
	}
	return "unknown"
}

// callers shows what the servers of one sidecar count of their callers.
type callers struct {
	mu      sync.Mutex
	servers []*Server
}

func (c *callers) add(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = append(c.servers, s)
}

var (
	callsTotal = prometheus.NewDesc("linkkit_sidecar_caller_calls_total",
		"Calls that were let through, streams included, by caller.", []string{"caller"}, nil)
	callsInFlight = prometheus.NewDesc("linkkit_sidecar_caller_calls_in_flight",
		"Calls under way, streams included, by caller.", []string{"caller"}, nil)
	callerStreams = prometheus.NewDesc("linkkit_sidecar_caller_streams",
		"Open streams, by caller.", []string{"caller"}, nil)
	callerRefusals = prometheus.NewDesc("linkkit_sidecar_caller_refusals_total",
		"Calls refused by a limit, by the policy, or because it is not known who calls.", []string{"caller", "reason"}, nil)
	certificateEnd = prometheus.NewDesc("linkkit_sidecar_grpc_certificate_expiry_timestamp_seconds",
		"When the first of the certificates that callers over TCP are shown expires; missing without TLS.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *callers) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{callsTotal, callsInFlight, callerStreams, callerRefusals, certificateEnd} {
		to <- d
	}
}

// toll is what is shown of a caller.
type toll struct {
	calls, inFlight, streams float64
	refusals                 [refusalKinds]float64
}

// Collect implements prometheus.Collector.
func (c *callers) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tolls := map[string]*toll{}
	end, tokens, unknown := 0.0, false, uint64(0)
	for _, s := range c.servers {
		unknown += s.meter.tell(tolls)
		tokens = tokens || !s.token.IsZero()
		if s.certificate != nil {
			if at := float64(s.certificate.NotAfter.Unix()); end == 0 || at < end {
				end = at
			}
		}
	}
	for name, t := range tolls {
		to <- prometheus.MustNewConstMetric(callsTotal, prometheus.CounterValue, t.calls, name)
		to <- prometheus.MustNewConstMetric(callsInFlight, prometheus.GaugeValue, t.inFlight, name)
		to <- prometheus.MustNewConstMetric(callerStreams, prometheus.GaugeValue, t.streams, name)
		for why, n := range t.refusals[:unknownCaller] {
			to <- prometheus.MustNewConstMetric(callerRefusals, prometheus.CounterValue, n, name, refusalKind(why).String())
		}
	}
	if tokens {
		to <- prometheus.MustNewConstMetric(callerRefusals, prometheus.CounterValue, float64(unknown), "unknown", unknownCaller.String())
	}
	if end != 0 {
		to <- prometheus.MustNewConstMetric(certificateEnd, prometheus.GaugeValue, end)
	}
}

// tell adds what the meter counts, by label. It returns how many calls came from nobody knows whom.
func (m *meter) tell(tolls map[string]*toll) (unknown uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.callers {
		t := tolls[u.label]
		if t == nil {
			t = &toll{}
			tolls[u.label] = t
		}
		t.calls += float64(u.calls.Load())
		t.inFlight += float64(u.inFlight.Load())
		t.streams += float64(u.streams)
		for why := range u.refusals {
			t.refusals[why] += float64(u.refusals[why].Load())
		}
	}
	return m.unknown
}
