package trace

import (
	"context"

	otel "go.opentelemetry.io/otel/trace"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Connect begins the span of one attempt to bring a device online. Steps of it are begun with the returned ctx.
func (t *Tracer) Connect(ctx context.Context, id device.ID, attempt int, address string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "connect", otel.WithAttributes(about(id), attrAttempt.Int(attempt)), otel.WithAttributes(server(address)...))
}

// Register begins the span of one registration.
func (t *Tracer) Register(ctx context.Context, id device.ID, method string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "register", otel.WithAttributes(about(id), attrMethod.String(method)))
}

// The steps of an attempt or a registration.
const (
	StepDial  = "dial"
	StepTLS   = "tls"
	StepLogin = "login"
)

// Step begins one step of what ctx belongs to; nil when that is not recorded.
func Step(ctx context.Context, name, address string) *Span {
	whole := otel.SpanFromContext(ctx)
	if !whole.IsRecording() {
		return nil
	}
	_, s := New(whole.TracerProvider()).start(ctx, name, otel.WithSpanKind(otel.SpanKindClient), otel.WithAttributes(server(address)...))
	return s
}
