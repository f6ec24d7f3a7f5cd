// Package trace names what is recorded of messages and logins, for whoever collects OpenTelemetry's traces. It holds no more of
// OpenTelemetry than its API; who exports, and where to, is the affair of the package otlp beneath, which the command alone knows.
//
//	publish ─┬─ store      STORED: until it is on disk
//	         ├─ queue      until its turn came
//	         └─ send       from the link until PUBACK; once for each time that it is sent
//
//	connect ─┬─ dial       name and TCP
//	register ┼─ tls
//	         └─ login      from CONNECT until CONNACK
//
// A nil Tracer records nothing, and so does a nil Span: where nobody collects, a message costs one comparison with nil. There is
// never a payload or anything of a credential in a span.
package trace

import (
	"context"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// scope is what recorded the spans, as OpenTelemetry calls it.
const scope = "github.com/linkkit-sidecar/linkkit-sidecar"

// Names of attributes. Those that do not begin with linkkit are OpenTelemetry's.
const (
	attrDevice      = attribute.Key("linkkit.device")    // productKey/deviceName, as everywhere
	attrAttempt     = attribute.Key("linkkit.attempt")   // of a connect, as in events
	attrLink        = attribute.Key("linkkit.link")      // which login since the sidecar started carried it
	attrAssurance   = attribute.Key("linkkit.assurance") // confirmed or stored
	attrQoS         = attribute.Key("linkkit.qos")
	attrOutcome     = attribute.Key("linkkit.outcome")
	attrSequence    = attribute.Key("linkkit.sequence") // in the outbox
	attrDuplicate   = attribute.Key("linkkit.duplicate")
	attrMethod      = attribute.Key("linkkit.method") // of a registration
	attrErrorType   = attribute.Key("error.type")
	attrHost        = attribute.Key("server.address")
	attrPort        = attribute.Key("server.port")
	attrSystem      = attribute.Key("messaging.system")
	attrDestination = attribute.Key("messaging.destination.name")
	attrTemplate    = attribute.Key("messaging.destination.template")
	attrOperation   = attribute.Key("messaging.operation.name")
	attrType        = attribute.Key("messaging.operation.type")
	attrSize        = attribute.Key("messaging.message.body.size")
	attrBatch       = attribute.Key("messaging.batch.message_count")
)

// Tracer records spans. Nil records nothing.
type Tracer struct {
	provider otel.TracerProvider
	spans    otel.Tracer
}

// New makes one that records with p.
func New(p otel.TracerProvider) *Tracer { return &Tracer{provider: p, spans: p.Tracer(scope)} }

// Provider is what it records with.
func (t *Tracer) Provider() otel.TracerProvider { return t.provider }

// start begins a span. It is nil when the sampler does not want it.
func (t *Tracer) start(ctx context.Context, name string, options ...otel.SpanStartOption) (context.Context, *Span) {
	ctx, s := t.spans.Start(ctx, name, options...)
	if !s.IsRecording() {
		return ctx, nil
	}
	return ctx, &Span{s}
}

// Span is something that goes on. Nil is one that is not recorded.
type Span struct{ span otel.Span }

// End ends it. err is why it came to nothing, and kind names that in a word or two for machines.
func (s *Span) End(kind string, err error) { s.endAt(time.Time{}, kind, err) }

func (s *Span) endAt(at time.Time, kind string, err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
		s.span.SetAttributes(attrErrorType.String(kind))
	}
	s.span.End(otel.WithTimestamp(at)) // the zero time is now
}

// TraceID is that of its trace, or "".
func (s *Span) TraceID() string {
	if s == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Context is a place in a trace that outlives the context.Context it came with. The zero Context is in no trace.
type Context struct{ span otel.SpanContext }

// From is the place of ctx.
func From(ctx context.Context) Context { return Context{otel.SpanContextFromContext(ctx)} }

// Into makes spans that are begun with the returned ctx follow c.
func (c Context) Into(ctx context.Context) context.Context {
	if !c.span.IsValid() {
		return ctx
	}
	return otel.ContextWithSpanContext(ctx, c.span)
}

// server are the attributes of "host:port".
func server(address string) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return []attribute.KeyValue{attrHost.String(address)}
	}
	number, _ := strconv.Atoi(port)
	return []attribute.KeyValue{attrHost.String(host), attrPort.Int(number)}
}

func about(id device.ID) attribute.KeyValue { return attrDevice.String(id.String()) }
