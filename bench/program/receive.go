package program

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// receipt counts the Count messages of a feed as they arrive: each begins with the time at which it was sent.
type receipt struct {
	p    Params
	done chan struct{} // closed when all have come

	mu          sync.Mutex
	took        []time.Duration
	first, last time.Time
	cpuFrom     time.Duration
}

func newReceipt(p Params) *receipt {
	return &receipt{p: p, done: make(chan struct{}), took: make([]time.Duration, 0, p.Count)}
}

func (r *receipt) add(payload []byte) {
	now := time.Now()
	sent := time.Unix(0, int64(binary.BigEndian.Uint64(payload)))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.took) == 0 {
		r.first, r.cpuFrom = now, cpuTime()
	}
	r.took = append(r.took, now.Sub(sent))
	if r.last = now; len(r.took) == r.p.Count {
		close(r.done)
	}
}

func (r *receipt) figures(ctx context.Context) (Figures, error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		return nil, fmt.Errorf("%d of %d messages have come: %w", len(r.took), r.p.Count, ctx.Err())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return usual(len(r.took), r.took, r.last.Sub(r.first), cpuTime()-r.cpuFrom), nil
}

// grpcReceive subscribes at the sidecar.
func grpcReceive(ctx context.Context, p Params, out io.Writer) (Figures, error) {
	clients, closeAll, err := dial(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	stream, err := clients[0].Subscribe(ctx, &pb.SubscribeRequest{Device: p.device(0), Filters: []string{p.Topic}, MaxWaiting: 100_000})
	if err != nil {
		return nil, err
	}
	r := newReceipt(p)
	for {
		select {
		case <-r.done:
			return r.figures(ctx)
		default:
		}
		response, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if response.GetMissed() > 0 {
			return nil, fmt.Errorf("%d messages were missed", response.GetMissed())
		}
		if response.GetGranted() {
			if err := say(out, ready); err != nil {
				return nil, err
			}
		}
		for _, m := range response.GetMessages() {
			r.add(m.GetPayload())
		}
	}
}

// feed publishes Count messages for a receiver, at a Rate or with a Window.
func feed(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	client, err := connectOne(p)
	if err != nil {
		return nil, err
	}
	defer client.Disconnect(250)
	began, flights := time.Now(), make(chan mqtt.Token, max(1, p.Window))
	failed := make(chan error, 1)
	go func() {
		var first error
		for token := range flights {
			token.Wait()
			first = cmpError(first, token.Error())
		}
		failed <- first
	}()
	for i := range p.Count {
		if p.Rate > 0 && !waitUntil(ctx, began.Add(time.Duration(float64(i)/p.Rate*float64(time.Second)))) {
			break
		}
		payload := make([]byte, max(8, p.Payload))
		binary.BigEndian.PutUint64(payload, uint64(time.Now().UnixNano()))
		flights <- client.Publish(p.Topic, 1, false, payload)
	}
	close(flights)
	if err := <-failed; err != nil {
		return nil, err
	}
	return Figures{"messages": float64(p.Count)}, ctx.Err()
}

// waitUntil waits for a time, or reports that ctx ended before.
func waitUntil(ctx context.Context, t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
