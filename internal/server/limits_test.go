package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func TestACallerThatAsksTooOftenIsToldWhenToComeAgain(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits = Limits{RequestsPerSecond: 0.01} })
	c := w.client()
	if err := list(t, c); err != nil {
		t.Fatal(err)
	}
	r := refused(t, list(t, c), codes.ResourceExhausted, "CALLER_LIMIT")
	if r.retry < 90*time.Second || r.retry > 100*time.Second || !strings.Contains(r.message, "0.01 requests a second") || r.metadata["caller"] == "" {
		t.Errorf("%+v", r)
	}
	// Another connection is the same caller's.
	refused(t, list(t, w.client()), codes.ResourceExhausted, "CALLER_LIMIT")
}

func TestTheRateOfACallerComesBackAndIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(Limits{RequestsPerSecond: 10}.withDefaults())
		busy, other := Caller{Kind: UnixCaller, UID: 1, PID: 10}, Caller{Kind: UnixCaller, UID: 2}
		for range 10 {
			if _, err := m.request(busy); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.request(busy); err == nil {
			t.Error("an eleventh request was let through")
		}
		busy.PID = 11 // the same user's other process
		if _, err := m.request(busy); err == nil {
			t.Error("the limit is one of a process")
		}
		if _, err := m.request(other); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		for range 10 {
			if _, err := m.request(busy); err != nil {
				t.Fatal("refused requests counted:", err)
			}
		}
	})
}

func TestWithoutALimitEverythingIsLetThrough(t *testing.T) {
	m := newMeter(Limits{RequestsPerSecond: -1, Streams: -1}.withDefaults())
	for range 100_000 {
		if _, err := m.request(Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 5000 {
		if _, err := m.stream(Caller{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACallerHoldsSoManyStreamsAndNoMore(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits = Limits{Streams: 2} })
	c := w.client()
	first, second := follow(t, c, &pb.EventsRequest{}), follow(t, w.client(), &pb.EventsRequest{})
	first.next()
	second.next()
	third := follow(t, c, &pb.EventsRequest{})
	_, err := third.stream.Recv()
	if r := refused(t, err, codes.ResourceExhausted, "CALLER_LIMIT"); !strings.Contains(r.message, "2 streams at once") || r.retry != 0 {
		t.Errorf("%+v", r)
	}
	if err := list(t, c); err != nil {
		t.Errorf("requests are refused with the streams: %v", err)
	}
	first.stop()
	until(t, "a stream that ended makes room", func() bool {
		_, err := follow(t, c, &pb.EventsRequest{}).stream.Recv()
		return err == nil
	})
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits = Limits{MessageBytes: 1000} })
	_, err := w.client().Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1), Tls: &pb.TlsSettings{CaPem: strings.Repeat("x", 1001)}})
	if refusalOf(t, err).code != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	if len(w.devices.connects) != 0 {
		t.Error("it went through")
	}
}
