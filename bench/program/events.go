package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/server"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

// eventServer is the sidecar's own log of events, its journal on disk and its server, with a source of events that is faster than
// devices are: Count events at a Rate, when somebody calls Disconnect.
func eventServer(ctx context.Context, p Params, out io.Writer) (Figures, error) {
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(filepath.Join(p.Dir, "events"), quiet)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	events, err := event.New(db, quiet)
	if err != nil {
		return nil, err
	}
	source := &source{p: p, events: events}
	s, err := server.New(server.Options{Address: "unix://" + filepath.Join(p.Dir, "events.sock"), Devices: source, Events: events, Log: quiet})
	if err != nil {
		return nil, err
	}
	var logging sync.WaitGroup
	logging.Go(func() { events.Run(ctx) })
	if err := say(out, map[string]string{"address": s.Address()}); err != nil {
		return nil, err
	}
	err = s.Run(ctx)
	logging.Wait()
	return nil, err
}

// others are the methods that nobody calls here.
type others = server.Devices

type source struct {
	others

	p      Params
	events *event.Log
}

// Resolve takes the device for known.
func (*source) Resolve(id device.ID) (device.ID, error) { return id, nil }

// Disconnect publishes the events. They concern one device, as if it connected again and again.
func (s *source) Disconnect(ctx context.Context, id device.ID) (event.Status, error) {
	status := event.Status{Device: id, State: event.Connecting, Wanted: true}
	const burst = 100
	for began, i := time.Now(), 0; i < s.p.Count; i++ {
		if i%burst == 0 && !waitUntil(ctx, began.Add(seconds(float64(i)/s.p.Rate))) {
			return status, ctx.Err()
		}
		s.events.Publish(event.Attempting{Attempt: i + 1, Endpoint: "localhost:8883"}, status)
	}
	return status, nil
}

// eventReaders follow the events of eventServer from as many connections as Apps, until each has all.
func eventReaders(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	conns, closeAll, err := dialAll(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &eventReceipt{}
	all := make([]error, len(conns))
	var opened, reading sync.WaitGroup
	for i, c := range conns {
		opened.Add(1)
		reading.Go(func() {
			all[i] = r.follow(ctx, pb.NewConnectivityServiceClient(c), p.Count, sync.OnceFunc(opened.Done))
		})
	}
	opened.Wait()
	began, used := time.Now(), cpuTime()
	_, err = pb.NewConnectivityServiceClient(conns[0]).Disconnect(ctx, &pb.DisconnectRequest{Device: p.device(0)})
	if err != nil {
		cancel()
	}
	reading.Wait()
	if err := errors.Join(errors.Join(all...), err); err != nil {
		return nil, err
	}
	return usual(len(r.took), r.took, time.Since(began), cpuTime()-used), nil
}

type eventReceipt struct {
	mu   sync.Mutex
	took []time.Duration // from when something happened to when it was read
}

func (r *eventReceipt) follow(ctx context.Context, c pb.ConnectivityServiceClient, count int, opened func()) error {
	defer opened()
	stream, err := c.Events(ctx, &pb.EventsRequest{})
	if err != nil {
		return err
	}
	for seen := 0; seen < count; {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		switch e.GetEvent().(type) {
		case *pb.EventsResponse_Snapshot:
			opened()
		case *pb.EventsResponse_EventsLost:
			return fmt.Errorf("events were lost after %d", seen)
		default:
			took := time.Since(e.GetTime().AsTime())
			r.mu.Lock()
			r.took = append(r.took, took)
			r.mu.Unlock()
			seen++
		}
	}
	return nil
}

// eventDelay has a device of the sidecar disconnect and connect Count times, with a pause before each, and another app read of it. It
// tells how long each change took to be read.
func eventDelay(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	p.Apps = 2
	conns, closeAll, err := dialAll(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, reader, caller := &eventReceipt{}, pb.NewConnectivityServiceClient(conns[0]), pb.NewConnectivityServiceClient(conns[1])
	const perRound = 3 // disconnected, connecting, online
	opened, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.follow(ctx, reader, perRound*p.Count, sync.OnceFunc(func() { close(opened) })) }()
	<-opened
	began, used := time.Now(), cpuTime()
	for i := range p.Count {
		if !waitUntil(ctx, began.Add(time.Duration(i)*20*time.Millisecond)) {
			return nil, ctx.Err()
		}
		if _, err := caller.Disconnect(ctx, &pb.DisconnectRequest{Device: p.device(0)}); err != nil {
			return nil, err
		}
		if _, err := caller.Connect(ctx, &pb.ConnectRequest{
			Device: p.device(0), Endpoint: endpoint(p), Mqtt: &pb.MqttSettings{MaxInflight: 1000},
		}); err != nil {
			return nil, err
		}
	}
	if err := <-done; err != nil {
		return nil, err
	}
	return usual(len(r.took), r.took, time.Since(began), cpuTime()-used), nil
}
