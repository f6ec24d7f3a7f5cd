// Package otlp exports traces to a collector by OTLP, over HTTP or gRPC, as OpenTelemetry's environment variables say.
//
// Open starts the exporter's goroutine; Close sends what is left, within a bounded time, and ends it. A collector that does not answer
// delays nobody: spans wait in a bounded queue, and what has no room is dropped.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// farewell is how long Close tries to send what is left.
const farewell = 3 * time.Second

// Export is an exporter at work.
type Export struct {
	provider *sdk.TracerProvider
	exporter *watched
}

// Open begins to export if the environment asks for it; else it returns nil. getenv must be the process's: OpenTelemetry's own parts
// read the rest of the variables there. What they cannot understand they pass over, and log.
func Open(ctx context.Context, getenv func(string) string, version string, log *slog.Logger) (*Export, error) {
	protocol, wanted := choose(getenv, log)
	if !wanted {
		return nil, nil
	}
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("OpenTelemetry complains", "error", err) }))
	var client sdk.SpanExporter
	var err error
	if protocol == protocolGRPC {
		client, err = otlptracegrpc.New(ctx)
	} else {
		client, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("traces cannot be exported; correct the variables OTEL_EXPORTER_OTLP_… or set OTEL_SDK_DISABLED=true: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "linkkit-sidecar"),
		attribute.String("service.version", version)), resource.WithTelemetrySDK(), resource.WithFromEnv()) // the last ones win
	if err != nil {
		log.Warn("OpenTelemetry complains", "error", err)
	}
	e := &Export{exporter: &watched{SpanExporter: client, log: log, over: make(chan struct{})}}
	e.provider = sdk.NewTracerProvider(sdk.WithBatcher(e.exporter), sdk.WithResource(about))
	return e, nil
}

// Tracer records what is exported. A nil Export has a nil one.
func (e *Export) Tracer() *trace.Tracer {
	if e == nil {
		return nil
	}
	return trace.New(e.provider)
}

// Close sends what is left, for a while, and ends the exporter. What cannot be sent is no reason to fail.
func (e *Export) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := e.provider.Shutdown(ctx)
	close(e.exporter.over)
	if err != nil && e.exporter.lost.Load() == 0 { // else it is known that the collector takes none
		e.exporter.log.Warn("the last spans could not be exported", "error", err)
	}
	return nil
}

const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// choose tells whether the environment asks for traces, and by which protocol. OpenTelemetry's own default is to export to this machine
// unasked; ours is to do nothing until a collector, or the exporter, is named.
func choose(getenv func(string) string, log *slog.Logger) (protocol string, wanted bool) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := strings.TrimSpace(getenv(name)); value != "" {
				return value
			}
		}
		return ""
	}
	if strings.EqualFold(first("OTEL_SDK_DISABLED"), "true") {
		return "", false
	}
	exporter := first("OTEL_TRACES_EXPORTER")
	if exporter == "" && first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") != "" {
		exporter = "otlp"
	}
	switch exporter {
	case "", "none":
		return "", false
	case "otlp":
	default:
		log.Warn("this exporter of traces is not known: none are exported; known are otlp and none", "otel_traces_exporter", exporter)
		return "", false
	}
	switch protocol = first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "":
		return protocolHTTP, true
	case protocolGRPC, protocolHTTP:
		return protocol, true
	}
	log.Warn("this protocol is not known: no traces are exported; known are grpc and http/protobuf", "otel_exporter_otlp_protocol", protocol)
	return "", false
}
