package trace

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	otel "go.opentelemetry.io/otel/trace"
)

// traceparent is W3C Trace Context's text for a place in a trace: version, trace, span and flags, in hexadecimal.
//
//	00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
type traceparent string

// Get is what OpenTelemetry's reader asks for.
func (t traceparent) Get(key string) string {
	if key == "traceparent" {
		return string(t)
	}
	return "" // there is no tracestate: what vendors put there is not for spans within one program
}

// Set and Keys are there for the interface.
func (traceparent) Set(string, string) {}
func (traceparent) Keys() []string     { return []string{"traceparent"} }

// parse reads one. What cannot be read is in no trace, as the standard demands: nothing fails because of a trace.
func parse(text string) otel.SpanContext {
	return otel.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), traceparent(text)))
}

// Valid reports whether text names a place in a trace.
func Valid(text string) bool { return text != "" && parse(text).IsValid() }

func format(c otel.SpanContext) string {
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}
