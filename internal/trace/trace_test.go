package trace_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

var dev = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}

const (
	caller    = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

func recorder() (*trace.Tracer, *tracetest.SpanRecorder) {
	r := tracetest.NewSpanRecorder()
	return trace.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(r))), r
}

func TestATraceparentIsReadAsTheStandardSays(t *testing.T) {
	for text, want := range map[string]bool{
		caller:            true,
		unsampled:         true,
		"cc" + caller[2:]: true, // a version that is still to come
		"ff" + caller[2:]: false,
		caller + "-more":  false,
		caller[:54]:       false,
		"00-" + caller:    false,
		"no trace at all": false,
		"":                false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
	} {
		if got := trace.Valid(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestWithoutATracerNothingIsRecordedAndNothingFails(t *testing.T) {
	var none *trace.Tracer
	ctx, span := none.Connect(t.Context(), dev, 1, "localhost:1883")
	span.End("x", errors.New("x"))
	_, span = none.Register(ctx, dev, "pre-registered")
	span.End("", nil)
	trace.Step(ctx, trace.StepDial, "localhost:1883").End("", nil)
	m := message.Outgoing{Trace: &message.Trace{Parent: caller}} // as one that was stored while there was a tracer
	none.Store(m, dev, 1, "", nil)
	if s := none.Send(m, dev, trace.Link{}); s != nil || s.TraceID() != "" {
		t.Errorf("a span %v", s)
	}
}

func TestWhatIsNotSampledLeavesTheMessageAsItIs(t *testing.T) {
	tracer, spans := recorder()
	m := message.Outgoing{Topic: "/a1B2c3D4e5F/dev-001/user/update"}
	if s := tracer.Publish(t.Context(), unsampled, dev, &m); s != nil || m.Trace != nil {
		t.Errorf("a span %v, a trace %v", s, m.Trace)
	}
	if n := len(spans.Ended()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

func TestNamesOfSpansAreSharedByManyMessages(t *testing.T) {
	for topic, want := range map[string]string{
		"/a1B2c3D4e5F/dev-001/user/update":              "publish /{product_key}/{device_name}/user/update",
		"/sys/a1B2c3D4e5F/dev-001/thing/event/x/post":   "publish /sys/{product_key}/{device_name}/thing/event/x/post",
		"/sys/a1B2c3D4e5F/dev-001/rrpc/response/123456": "publish",
		"/ext/rrpc/123456/anything":                     "publish",
	} {
		tracer, spans := recorder()
		tracer.Publish(t.Context(), caller, dev, &message.Outgoing{Topic: topic}).EndPublish(message.Receipt{Outcome: message.Acknowledged}, "")
		if got := spans.Ended()[0].Name(); got != want {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
}

func TestTheWayOfAMessageIsOneTrace(t *testing.T) {
	tracer, spans := recorder()
	m := message.Outgoing{Topic: "/a1B2c3D4e5F/dev-001/user/update", Stored: true}
	publish := tracer.Publish(t.Context(), caller, dev, &m)
	began := m.Trace.Since
	tracer.Store(m, dev, 7, "", nil)
	publish.EndPublish(message.Receipt{Outcome: message.Stored, Sequence: 5}, "")
	send := tracer.Send(m, dev, trace.Link{Number: 2, Address: "localhost:8883"})
	send.End("network", errors.New("the link was lost"))

	all := spans.Ended()
	if len(all) != 4 {
		t.Fatalf("%d spans", len(all))
	}
	for i, name := range []string{"store", "publish", "queue", "send"} {
		s := all[i]
		if got, _, _ := strings.Cut(s.Name(), " "); got != name || s.SpanContext().TraceID().String() != caller[3:35] {
			t.Errorf("span %d is %q in %s", i, s.Name(), s.SpanContext().TraceID())
		}
		want := all[1].SpanContext().SpanID().String()
		if name == "publish" {
			want = caller[36:52]
		}
		if got := s.Parent().SpanID().String(); got != want {
			t.Errorf("the parent of %s is %s, want %s", name, got, want)
		}
	}
	if got := all[0].StartTime(); !got.Equal(began) {
		t.Errorf("it waits for the disk since %v, want %v", got, began)
	}
	if got := all[3].Status(); got.Code != codes.Error || got.Description != "the link was lost" {
		t.Errorf("send ended with %v", got)
	}
}

func TestAStepIsPartOfItsAttempt(t *testing.T) {
	tracer, spans := recorder()
	ctx, attempt := tracer.Connect(t.Context(), dev, 3, "localhost:8883")
	trace.Step(ctx, trace.StepTLS, "localhost:8883").End("", nil)
	attempt.End("", nil)
	all := spans.Ended()
	if len(all) != 2 || all[0].Name() != "tls" || all[0].Parent().SpanID() != all[1].SpanContext().SpanID() {
		t.Errorf("spans %v", all)
	}
	if got := all[1].SpanContext().TraceID().String(); got != attempt.TraceID() {
		t.Errorf("trace %s, want %s", attempt.TraceID(), got)
	}
	if later := otel.SpanContextFromContext(trace.From(ctx).Into(context.Background())); !later.Equal(otel.SpanContextFromContext(ctx)) {
		t.Error("a Context does not carry its place over")
	}
}

func TestLogLinesNameTheSpanOfTheirContext(t *testing.T) {
	tracer, spans := recorder()
	ctx, span := tracer.Register(t.Context(), dev, "pre-registered")
	var out bytes.Buffer
	log := slog.New(trace.Handler(slog.NewTextHandler(&out, nil))).With("device", dev)
	log.InfoContext(ctx, "one")
	log.Info("two")
	span.End("", nil)
	lines := strings.SplitAfter(out.String(), "\n")
	sc := spans.Ended()[0].SpanContext()
	if want := "trace_id=" + sc.TraceID().String() + " span_id=" + sc.SpanID().String(); !strings.Contains(lines[0], want) || strings.Contains(lines[1], "trace_id") {
		t.Errorf("the first shall have %s, the second nothing:\n%s", want, out.String())
	}
}

// BenchmarkMessage is what a message costs where nobody collects, and where somebody does.
func BenchmarkMessage(b *testing.B) {
	recording := trace.New(sdk.NewTracerProvider())
	for name, tracer := range map[string]*trace.Tracer{"off": nil, "on": recording} {
		b.Run(name, func(b *testing.B) {
			m := message.Outgoing{Topic: "/a1B2c3D4e5F/dev-001/user/update"}
			if tracer != nil {
				m.Trace = &message.Trace{Parent: caller, Since: time.Now()}
			}
			b.ReportAllocs()
			for b.Loop() {
				tracer.Send(m, dev, trace.Link{Number: 1, Address: "localhost:8883"}).End("", nil)
			}
		})
	}
}
