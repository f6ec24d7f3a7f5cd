package conn

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

const callerTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// tracedWorld is a sidecar whose spans are recorded.
func tracedWorld(t *testing.T) (*world, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	w := start(t, nil, func(o *Options) {
		o.Tracer = trace.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	})
	w.store(dev1, "s1")
	return w, spans
}

// named are the ended spans with a name, by what stands before the first blank.
func named(spans *tracetest.SpanRecorder, name string) (all []sdk.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		var first string
		_, _ = fmt.Sscan(s.Name(), &first)
		if first == name {
			all = append(all, s)
		}
	}
	return all
}

func attribute(s sdk.ReadOnlySpan, key string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func TestAStoredMessageHasASpanForEachTimeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, spans := tracedWorld(t)
		w.platform.hold = true
		w.mustConnect()
		m := outgoing(1)[0]
		m.Stored = true
		m.Trace = &message.Trace{Parent: callerTrace, Since: time.Now()}
		p := w.publisher()
		p.Publish([]message.Outgoing{m})
		synctest.Wait()
		w.platform.set(func(p *fakePlatform) { p.hold = false })
		w.platform.link(dev1).lose(cut())
		time.Sleep(time.Hour)
		synctest.Wait()
		sent := named(spans, "send")
		if len(sent) != 2 || len(named(spans, "store")) != 1 || len(named(spans, "queue")) != 2 {
			t.Fatalf("spans %v", spans.Ended())
		}
		for i, want := range []struct{ link, kind string }{{"1", event.CauseNetwork.String()}, {"2", ""}} {
			if link, kind := attribute(sent[i], "linkkit.link"), attribute(sent[i], "error.type"); link != want.link || kind != want.kind {
				t.Errorf("the span %d has link %q and error %q, want %v", i, link, kind, want)
			}
			if got := sent[i].Parent().SpanID().String(); got != callerTrace[36:52] {
				t.Errorf("its parent is %s", got)
			}
		}
	})
}

func TestTheStatusNamesTheTraceOfTheLatestAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, spans := tracedWorld(t)
		w.mustConnect()
		synctest.Wait()
		first := w.keeper(dev1).Status().Trace
		w.platform.link(dev1).lose(cut())
		time.Sleep(time.Hour)
		synctest.Wait()
		attempts := named(spans, "connect")
		if len(attempts) != 2 || attempts[0].SpanContext().TraceID().String() != first {
			t.Fatalf("attempts %v, the first in %s", attempts, first)
		}
		if got := w.keeper(dev1).Status().Trace; got != attempts[1].SpanContext().TraceID().String() || got == first {
			t.Errorf("the status names %s", got)
		}
	})
}

// instantLink acknowledges at once.
type instantLink struct {
	link
	done chan struct{}
}

var landed = func() *fakePending {
	p := &fakePending{done: make(chan struct{})}
	close(p.done)
	return p
}()

func (l instantLink) Done() <-chan struct{}                   { return l.done }
func (l instantLink) Publish(string, byte, []byte) pending    { return landed }
func (l instantLink) Failure() *Failure                       { return nil }
func (l instantLink) More(bool)                               {}
func (l instantLink) Traffic() (received uint64, sent uint64) { return 0, 0 }

// BenchmarkSend is the way of a message through lane and sender, without any link beneath.
func BenchmarkSend(b *testing.B) {
	k := newKeeper(dev1, &environment{measures: newMeasures()})
	ctx, stop := context.WithCancel(b.Context())
	k.lanes.open(0)
	c := k.newCarriage(ctx, instantLink{done: make(chan struct{})}, 64)
	c.stand()
	p := &Publisher{k: k, lane: &lane{box: message.NewMailbox()}}
	batch := make([]message.Outgoing, 64)
	for i := range batch {
		batch[i] = message.Outgoing{ID: uint64(i), Topic: own + "update", QoS: 1, Payload: make([]byte, 128)}
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Publish(batch)
		for n := 0; n < len(batch); {
			got, err := p.Receipts().Take(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n += len(got)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/message")
	stop()
	c.end()
}
