package server

import (
	"cmp"
	"context"
	"errors"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// tracing makes a span of each call, in the trace that the caller names in its metadata. It comes before the chain, whose log lines
// name the span. Without a tracer there is nothing of it: even with nowhere to record, it would cost each call a few microseconds.
func tracing(t *trace.Tracer) []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.Provider()), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
	))}
}

// traceMessage begins the span of a message; nil when it is not recorded.
func (s *messaging) traceMessage(ctx context.Context, id device.ID, m *pb.OutgoingMessage, out *message.Outgoing) *trace.Span {
	if s.tracer == nil {
		return nil
	}
	return s.tracer.Publish(ctx, m.GetTraceparent(), id, out)
}

// traces are the spans of a stream's messages that have no receipt yet. Most streams have none.
type traces map[uint64]*trace.Span

func (t *traces) begin(id uint64, s *trace.Span) {
	if s == nil {
		return
	}
	if *t == nil {
		*t = traces{}
	}
	(*t)[id] = s
}

func (t traces) end(r message.Receipt) {
	if s := t[r.ID]; s != nil {
		s.EndPublish(r, reasonOf(r.Err))
		delete(t, r.ID)
	}
}

var errNoReceipt = errors.New("the stream ended before the message had a receipt")

// leaveTraces ends the spans of messages whose receipts nobody takes any more.
func (x *exchange) leaveTraces() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.traced {
		s.End("no_receipt", errNoReceipt)
	}
	x.traced = nil
}

// reasonOf names an error for machines, as its status would.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	answer, reason := toStatus(err)
	return cmp.Or(reason, answer.Code().String())
}
