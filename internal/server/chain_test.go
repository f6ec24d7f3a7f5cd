package server

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
)

// A panicking fake stands for a fault of ours.
func TestAPanicIsAnswerAndLogAndNoMore(t *testing.T) {
	var log logBuffer
	w := serve(t, func(o *Options) { o.Log = log.logger(slog.LevelInfo) })
	w.devices.connect = func(context.Context, conn.ConnectRequest) error { panic("goodness") }
	c := w.client()
	var trailer metadata.MD
	_, err := c.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}, grpc.Trailer(&trailer))
	r := refused(t, err, codes.Internal, "INTERNAL")
	if strings.Contains(r.message, "goodness") || strings.Contains(r.message, "goroutine") || strings.Contains(r.message, ".go:") {
		t.Errorf("the answer tells too much: %s", r.message)
	}
	if got := trailerReason(trailer); got != "INTERNAL" {
		t.Errorf("the trailer says %q", got)
	}
	if got := log.String(); !strings.Contains(got, "goodness") || !strings.Contains(got, "chain_test.go") || !strings.Contains(got, "grpc.method=Connect") {
		t.Errorf("the log does not say enough: %s", got)
	} else if n := strings.Count(got, "\n"); n != 1 {
		t.Errorf("it says it in %d lines: %s", n, got)
	}
	if err := list(t, c); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
}

func TestAnErrorThatNobodyHasForeseenIsForTheLogAlone(t *testing.T) {
	var log logBuffer
	w := serve(t, func(o *Options) { o.Log = log.logger(slog.LevelInfo) })
	w.devices.connect = func(context.Context, conn.ConnectRequest) error { return errOdd }
	_, err := w.client().Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)})
	if r := refused(t, err, codes.Internal, "INTERNAL"); strings.Contains(r.message, "hunter2") {
		t.Error(r.message)
	}
	if got := log.String(); !strings.Contains(got, errOdd.Error()) || strings.Count(got, "\n") != 1 {
		t.Errorf("the log does not say in one line what happened: %s", got)
	}
}

func TestACallIsOneLineWithoutItsPayload(t *testing.T) {
	var log logBuffer
	w := serve(t, func(o *Options) { o.Log = log.logger(slog.LevelDebug) })
	c, ctx := w.client(), t.Context()
	const secret = "0123456789hunter2"
	if _, err := c.Connect(ctx, &pb.ConnectRequest{
		Device: named(dev1), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret},
	}); err != nil {
		t.Fatal(err)
	}
	// The same again, broken in each way that puts it into an error.
	_, _ = c.Connect(ctx, &pb.ConnectRequest{Device: named(dev1), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: strings.Repeat(secret, 9)}})
	_, _ = c.Connect(ctx, &pb.ConnectRequest{
		Device: named(dev1), Endpoint: &pb.Endpoint{Host: "10.0.0.1"}, Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret},
	})
	if _, err := c.ListDevices(ctx, &pb.ListDevicesRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	got := log.String()
	if strings.Contains(got, "hunter2") {
		t.Errorf("a secret is in the log: %s", got)
	}
	lines := map[string]int{}
	for line := range strings.Lines(got) {
		if strings.Contains(line, "finished call") {
			lines[strings.Fields(strings.SplitAfter(line, "level=")[1])[0]+" "+strings.Fields(strings.SplitAfter(line, "grpc.method=")[1])[0]]++
			if !strings.Contains(line, "caller=\"uid ") || !strings.Contains(line, "grpc.code=") {
				t.Errorf("%s", line)
			}
		}
	}
	if lines["INFO Connect"] != 3 || lines["DEBUG ListDevices"] != 1 {
		t.Errorf("%v\n%s", lines, got)
	}
}

func TestRequestsAreCountedHoweverTheyEnd(t *testing.T) {
	registry := prometheus.NewRegistry()
	policy, err := NewPolicy([]Rule{{Callers: []string{"*"}, Operations: []string{"connect"}}})
	if err != nil {
		t.Fatal(err)
	}
	log := newLog(t)
	w := serveLog(t, log, func(o *Options) { o.Metrics, o.Policy = registry, policy })
	serveLog(t, log, func(o *Options) { o.Metrics = registry }) // two listeners, one registry
	w.devices.connect = func(_ context.Context, r conn.ConnectRequest) error {
		if r.Replace {
			panic("goodness")
		}
		return nil
	}
	c, ctx := w.client(), t.Context()
	_, _ = c.Connect(ctx, &pb.ConnectRequest{Device: named(dev1)})
	_, _ = c.Connect(ctx, &pb.ConnectRequest{Device: named(dev1), Replace: true})
	_, _ = c.Connect(ctx, &pb.ConnectRequest{Device: &pb.Device{}})
	_ = list(t, c)
	counted := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == "grpc_server_handled_total" {
				counted[labels["grpc_method"]+" "+labels["grpc_code"]] = m.GetCounter().GetValue()
			}
		}
	}
	for what, want := range map[string]float64{
		"Connect OK": 1, "Connect Internal": 1, "Connect InvalidArgument": 1, "ListDevices PermissionDenied": 1, "ListDevices OK": 0,
	} {
		if counted[what] != want {
			t.Errorf("%s: %v, want %v", what, counted[what], want)
		}
	}
}

func TestAServerWhoseMetricsClashIsRefused(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "grpc_server_started_total", Help: "another's"}))
	log := newLog(t)
	if s, err := New(Options{Address: "127.0.0.1:0", TCP: TCP{Insecure: true}, Devices: newFakeDevices(log), Events: log, Metrics: registry}); err == nil {
		_ = s.Close()
		t.Error("it was taken")
	}
}

func TestACallerThatLeavesIsNotAFault(t *testing.T) {
	var log logBuffer
	w := serve(t, func(o *Options) { o.Log = log.logger(slog.LevelInfo) })
	f := follow(t, w.client(), &pb.EventsRequest{})
	f.next()
	f.stop()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Contains(got, "level=ERROR") || strings.Contains(got, "level=WARN") {
		t.Error(got)
	}
}
