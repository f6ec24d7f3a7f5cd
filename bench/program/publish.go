package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// dial makes a client for each of the Apps.
func dial(p Params) ([]pb.MessagingServiceClient, func(), error) {
	conns, closeAll, err := dialAll(p)
	clients := make([]pb.MessagingServiceClient, len(conns))
	for i, c := range conns {
		clients[i] = pb.NewMessagingServiceClient(c)
	}
	return clients, closeAll, err
}

func dialAll(p Params) ([]*grpc.ClientConn, func(), error) {
	conns := make([]*grpc.ClientConn, max(1, p.Apps))
	closeAll := func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	for i := range conns {
		var err error
		if conns[i], err = grpc.NewClient(p.Address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
			closeAll()
			return nil, nil, err
		}
	}
	return conns, closeAll, nil
}

func (p Params) message(i int, payload []byte) *pb.OutgoingMessage {
	m := &pb.OutgoingMessage{Topic: p.topicOf(i), Payload: payload}
	if p.Stored {
		m.Assurance = pb.Assurance_ASSURANCE_STORED
	}
	return m
}

// grpcPublish calls Publish, each of the Callers one at a time, the Devices in turn: at the sidecar, or at a server that only answers.
func grpcPublish(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	clients, closeAll, err := dial(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	m, payload := newMeter(p), make([]byte, p.Payload)
	var callers sync.WaitGroup
	for c := range p.Callers {
		client := clients[c%len(clients)]
		callers.Go(func() {
			for i := c; ctx.Err() == nil && !m.over(); i += p.Callers {
				d := i % max(1, p.Devices)
				start := time.Now()
				r, err := client.Publish(ctx, &pb.PublishRequest{Device: p.device(d), Message: p.message(d, payload)})
				if err == nil && (r.GetOutcome() == pb.Outcome_OUTCOME_UNSPECIFIED) {
					err = errors.New("an answer without an outcome")
				}
				if err != nil {
					m.fail(err)
					return
				}
				m.add(start)
			}
		})
	}
	callers.Wait()
	return m.figures()
}

// grpcStream publishes by PublishStream with a Window, in batches of what the window has room for, Batch at most.
func grpcStream(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	clients, closeAll, err := dial(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	stream, err := clients[0].PublishStream(ctx)
	if err != nil {
		return nil, err
	}
	s := &streaming{p: p, m: newMeter(p), stream: stream, room: make(chan struct{}, p.Window), starts: make([]time.Time, 2*p.Window)}
	var receiving sync.WaitGroup
	receiving.Go(s.receive)
	s.send(ctx)
	receiving.Wait()
	return s.m.figures()
}

type streaming struct {
	p      Params
	m      *meter
	stream grpc.BidiStreamingClient[pb.PublishStreamRequest, pb.PublishStreamResponse]
	room   chan struct{}

	mu     sync.Mutex
	starts []time.Time // by id; one that is used again has long been answered
}

func (s *streaming) send(ctx context.Context) {
	payload, id := make([]byte, s.p.Payload), 0
	request := &pb.PublishStreamRequest{Device: s.p.device(0)}
	for ctx.Err() == nil && !s.m.over() {
		s.room <- struct{}{}
		n := 1
		for more := true; more && n < s.p.Batch; {
			select {
			case s.room <- struct{}{}:
				n++
			default:
				more = false
			}
		}
		start := time.Now()
		s.mu.Lock()
		for i := range n {
			s.starts[(id+i)%len(s.starts)] = start
		}
		s.mu.Unlock()
		for range n {
			out := s.p.message(0, payload)
			out.Id = uint64(id)
			request.Messages = append(request.Messages, out)
			id++
		}
		if err := s.stream.Send(request); err != nil {
			s.m.fail(err)
			return
		}
		request = &pb.PublishStreamRequest{}
	}
	if err := s.stream.CloseSend(); err != nil {
		s.m.fail(err)
	}
}

func (s *streaming) receive() {
	for {
		response, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.m.fail(err)
			return
		}
		for _, r := range response.GetReceipts() {
			if r.GetOutcome() == pb.Outcome_OUTCOME_STORED {
				continue // another one follows
			}
			if r.GetOutcome() != pb.Outcome_OUTCOME_ACKNOWLEDGED {
				s.m.fail(fmt.Errorf("%v: %s", r.GetOutcome(), r.GetDetail()))
			}
			s.mu.Lock()
			start := s.starts[r.GetId()%uint64(len(s.starts))]
			s.mu.Unlock()
			s.m.add(start)
			<-s.room
		}
	}
}
