package otlp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// moody takes spans or not, as it is told.
type moody struct {
	tracetest.NoopExporter
	err error
}

func (m *moody) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return m.err }

func TestAnOutageOfTheCollectorIsTwoLines(t *testing.T) {
	var log bytes.Buffer
	collector := &moody{err: errors.New("connection refused")}
	w := &watched{SpanExporter: collector, log: slog.New(slog.NewTextHandler(&log, nil)), over: make(chan struct{})}
	spans := tracetest.SpanStubs{{Name: "one"}, {Name: "two"}}.Snapshots()
	export := func() {
		for range 3 {
			if err := w.ExportSpans(t.Context(), spans); err != nil {
				t.Errorf("the caller would log %v", err)
			}
		}
	}
	export()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "connection refused") {
		t.Errorf("the log says %s", got)
	}
	collector.err = nil
	export()
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "again\" lost=6") {
		t.Errorf("afterwards the log says %s", got)
	}
}
