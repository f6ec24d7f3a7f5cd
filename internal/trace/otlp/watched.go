package otlp

import (
	"context"
	"log/slog"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// watched logs once that a collector does not take spans, and once that it does again.
type watched struct {
	sdk.SpanExporter
	log  *slog.Logger
	over chan struct{} // closed when nothing is waited for any more

	lost atomic.Int64 // spans, since the last success
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
	select {
	case <-w.over:
		return nil // Close has told
	default:
	}
	if err == nil {
		if lost := w.lost.Swap(0); lost > 0 {
			w.log.Info("the collector takes spans again", "lost", lost)
		}
		return nil
	}
	if all := w.lost.Add(int64(len(spans))); all == int64(len(spans)) {
		w.log.Warn("the collector does not take spans; they are dropped until it does", "error", err)
	}
	return nil
}
