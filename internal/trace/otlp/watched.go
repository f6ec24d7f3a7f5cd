package otlp

import (
	"context"
	"log/slog"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// watched logs once that a collector does not take spans, and once that it does again.
type watched struct {
	sdk.SpanExporter
	log  *slog.Logger
	over chan struct{} // closed when nothing is waited for any more

	lost int // since the last success; for the one goroutine that exports
}

// ExportSpans never fails: who calls it would log each batch.
func (w *watched) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with this function
		select {
		case <-w.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := w.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && w.lost == 0:
		w.log.Warn("the collector does not take spans; they are dropped until it does", "error", err)
	case err == nil && w.lost > 0:
		w.log.Info("the collector takes spans again", "lost", w.lost)
	}
	if err == nil {
		w.lost = 0
	} else {
		w.lost += len(spans)
	}
	return nil
}
