package trace

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// Publish begins the span of a message that an app hands over, and notes in the message what the rest of its way needs. The message
// belongs to the trace that its own traceparent names, and the call is linked; or else it belongs to the trace of the call.
// EndPublish ends it.
func (t *Tracer) Publish(call context.Context, traceparent string, id device.ID, m *message.Outgoing) *Span {
	ctx, options := call, append(messageOptions(id, *m, "publish", "create"), otel.WithSpanKind(otel.SpanKindProducer))
	if own := parse(traceparent); own.IsValid() {
		ctx = otel.ContextWithRemoteSpanContext(context.WithoutCancel(call), own)
		if c := otel.SpanContextFromContext(call); c.IsValid() {
			options = append(options, otel.WithLinks(otel.Link{SpanContext: c}))
		}
	}
	_, s := t.start(ctx, name("publish", id, m.Topic), options...)
	if s != nil {
		m.Trace = &message.Trace{Parent: format(s.span.SpanContext()), Since: time.Now()}
	}
	return s
}

// EndPublish ends the span of a message with its first receipt. kind names the receipt's error.
func (s *Span) EndPublish(r message.Receipt, kind string) {
	if s == nil {
		return
	}
	s.span.SetAttributes(attrOutcome.String(r.Outcome.String()))
	if r.Sequence != 0 {
		s.span.SetAttributes(attrSequence.Int64(int64(r.Sequence)))
	}
	if r.Duplicate {
		s.span.SetAttributes(attrDuplicate.Bool(true))
	}
	s.End(kind, r.Err)
}

// Store records that a message has waited for its place on disk, with others, until now. err is why it has none.
func (t *Tracer) Store(m message.Outgoing, id device.ID, together int, kind string, err error) {
	if t == nil || m.Trace == nil {
		return
	}
	options := append(messageOptions(id, m, "store", ""), otel.WithTimestamp(m.Trace.Since), otel.WithAttributes(attrBatch.Int(together)))
	_, s := t.start(parent(m), name("store", id, m.Topic), options...)
	s.End(kind, err)
}

// Link is what carries messages.
type Link struct {
	Number  uint64 // logins since the sidecar started, up to this one
	Address string
}

// Send records that a message has waited for its turn until now, and begins the span of its way over a link. kind and err with which
// that is ended say why there was no acknowledgement.
func (t *Tracer) Send(m message.Outgoing, id device.ID, l Link) *Span {
	if t == nil || m.Trace == nil {
		return nil
	}
	now := time.Now()
	_, waited := t.start(parent(m), name("queue", id, m.Topic), append(messageOptions(id, m, "queue", ""), otel.WithTimestamp(m.Trace.Since))...)
	waited.endAt(now, "", nil)
	_, s := t.start(parent(m), name("send", id, m.Topic), append(messageOptions(id, m, "send", "send"), otel.WithTimestamp(now),
		otel.WithSpanKind(otel.SpanKindClient), otel.WithAttributes(attrLink.Int64(int64(l.Number))), otel.WithAttributes(server(l.Address)...))...)
	return s
}

// messageOptions are what all spans of a message tell of it.
func messageOptions(id device.ID, m message.Outgoing, operation, kind string) []otel.SpanStartOption {
	assurance := "confirmed"
	if m.Stored {
		assurance = "stored"
	}
	attrs := []attribute.KeyValue{
		attrSystem.String("mqtt"), attrDestination.String(m.Topic), attrOperation.String(operation), attrSize.Int(len(m.Payload)),
		about(id), attrQoS.Int(int(m.QoS)), attrAssurance.String(assurance),
	}
	if kind != "" {
		attrs = append(attrs, attrType.String(kind))
	}
	if t := template(id, m.Topic); t != "" {
		attrs = append(attrs, attrTemplate.String(t))
	}
	return []otel.SpanStartOption{otel.WithAttributes(attrs...)}
}

// name is one that many messages share: names of spans are counted and listed.
func name(operation string, id device.ID, topic string) string {
	if t := template(id, topic); t != "" {
		return operation + " " + t
	}
	return operation
}

// template is a topic without its device, or "" for an RRPC's, which has a number of its own.
func template(id device.ID, topic string) string {
	if strings.Contains(topic, "/rrpc/") {
		return ""
	}
	return strings.Replace(topic, "/"+id.ProductKey+"/"+id.DeviceName+"/", "/{product_key}/{device_name}/", 1)
}

// parent is the place of what comes after publish. It may be from before a restart.
func parent(m message.Outgoing) context.Context {
	return otel.ContextWithRemoteSpanContext(context.Background(), parse(m.Trace.Parent))
}
