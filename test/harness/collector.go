package harness

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans by OTLP, as those do that operators run.
type Collector struct {
	collectorpb.UnimplementedTraceServiceServer
	t *testing.T

	mu        sync.Mutex
	spans     []*tracepb.Span
	resources []*resourcepb.Resource
	raw       []byte // all that came
}

// StartCollector starts one that speaks protocol, and makes the commands that the test starts from now on export to it.
func StartCollector(t *testing.T, protocol string) *Collector {
	t.Helper()
	c := &Collector{t: t}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20") // milliseconds
	if protocol != "grpc" {
		s := httptest.NewServer(http.HandlerFunc(c.post))
		t.Cleanup(s.Close)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
		return c
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	return c
}

func (c *Collector) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "these are no traces", http.StatusBadRequest)
		return
	}
	_, _ = c.Export(r.Context(), &request)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export takes spans.
func (c *Collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	raw, err := proto.Marshal(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, raw...)
	for _, resource := range r.ResourceSpans {
		c.resources = append(c.resources, resource.Resource)
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, err
}

// Spans are all that have come.
func (c *Collector) Spans() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*tracepb.Span(nil), c.spans...)
}

// Raw is all that has come, as bytes.
func (c *Collector) Raw() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.raw...)
}

// Resource is what the spans say of who recorded them.
func (c *Collector) Resource(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.resources {
		for _, a := range r.Attributes {
			if a.Key == key {
				return a.Value.GetStringValue()
			}
		}
	}
	return ""
}

// Await waits for a span of a trace, "" being any, by its name.
func (c *Collector) Await(traceID, name string) *tracepb.Span {
	c.t.Helper()
	var found *tracepb.Span
	Eventually(c.t, "a span "+name+" in trace "+traceID, func() bool {
		for _, s := range c.Spans() {
			if s.Name == name && (traceID == "" || hex.EncodeToString(s.TraceId) == traceID) {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// Attribute is one of a span, as text; "" when there is none.
func Attribute(s *tracepb.Span, key string) string {
	for _, a := range s.Attributes {
		switch v := a.Value.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			if a.Key == key {
				return v.StringValue
			}
		case *commonpb.AnyValue_IntValue:
			if a.Key == key {
				return strconv.FormatInt(v.IntValue, 10)
			}
		}
	}
	return ""
}
