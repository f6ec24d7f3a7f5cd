package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

var (
	errOpenFirst = &platform.FieldError{Field: "open", Problem: "is missing: the first request of a stream says which inbox to consume"}
	errOpenOnce  = &platform.FieldError{Field: "open", Problem: "belongs into the first request of a stream; use a stream for each inbox"}
)

// Consume has two goroutines: this one delivers, the other takes answers. Both send.
func (s *messaging) Consume(stream grpc.BidiStreamingServer[pb.ConsumeRequest, pb.ConsumeResponse]) error {
	ctx, cancel := s.untilStopped(stream.Context())
	defer cancel()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return errOpenFirst
	}
	id, err := s.resolve(ctx, "Consume", open.GetDevice())
	if err != nil {
		return err
	}
	if err := s.permitFilters(ctx, "Consume", id, open.GetFilters()); err != nil {
		return err
	}
	consumer, err := s.messages.Consume(id, conn.ConsumeRequest{
		Inbox: open.GetInbox(), Filters: open.GetFilters(), MaxDeliveries: int(open.GetMaxDeliveries()), Replace: open.GetReplace(),
		Visibility: seconds(open.GetVisibilityTimeout()), MaxUnanswered: int(open.GetMaxUnanswered()),
	})
	if err != nil {
		return about(id, err)
	}
	defer func() {
		if errors.Is(context.Cause(ctx), conn.ErrShuttingDown) {
			consumer.CutShort()
		} else {
			consumer.Close()
		}
	}()
	// Where the request named no filters, those of the inbox; where another has replaced them since, those.
	if err := s.permitFilters(ctx, "Consume", id, consumer.Filters()); err != nil {
		return err
	}
	c := &consumption{consumer: consumer, stream: stream}
	delivering, stop := context.WithCancelCause(ctx)
	go func() { stop(cmp.Or(c.receive(first), errAppEnded)) }()
	return endOf(ctx, delivering, id, c.deliver(delivering), errAppEnded)
}

var errAppEnded = errors.New("the app has closed its side")

// endOf is how a stream ends whose work ran under inner, a part of ctx, and ended with err. done is the good end.
func endOf(ctx, inner context.Context, id device.ID, err, done error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case inner.Err() != nil:
		err = context.Cause(inner)
	}
	if errors.Is(err, done) {
		return nil
	}
	return about(id, err)
}

// consumption is one Consume.
type consumption struct {
	consumer *conn.Consumer
	stream   grpc.BidiStreamingServer[pb.ConsumeRequest, pb.ConsumeResponse]
	sending  sync.Mutex
}

func (c *consumption) send(r *pb.ConsumeResponse) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.stream.Send(r)
}

func (c *consumption) deliver(ctx context.Context) error {
	for {
		b, err := c.consumer.Take(ctx)
		if err != nil {
			return err
		}
		response := &pb.ConsumeResponse{Granted: b.Granted, Missed: b.Missed, Deliveries: make([]*pb.Delivery, len(b.Deliveries))}
		for i, d := range b.Deliveries {
			response.Deliveries[i] = &pb.Delivery{
				Delivery: d.Number, Message: incomingTo(d.Message), Count: uint32(d.Count), Sequence: d.Sequence,
			}
		}
		if err := c.send(response); err != nil {
			return err
		}
	}
}

// receive takes answers until the app closes its side.
func (c *consumption) receive(req *pb.ConsumeRequest) error {
	for {
		answers := make([]inbox.Answer, len(req.GetAnswers()))
		for i, a := range req.GetAnswers() {
			answers[i] = inbox.Answer{
				Delivery: a.GetDelivery(), Verdict: inbox.Verdict(a.GetVerdict()), Delay: time.Duration(a.GetDelayMs()) * time.Millisecond,
			}
		}
		if stale, settled := c.consumer.Answer(answers); len(stale)+len(settled) > 0 {
			if err := c.send(&pb.ConsumeResponse{Stale: stale, Settled: settled}); err != nil {
				return err
			}
		}
		var err error
		req, err = c.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case req.GetOpen() != nil:
			return errOpenOnce
		}
	}
}

func (s *messaging) ListInboxes(ctx context.Context, req *pb.ListInboxesRequest) (*pb.ListInboxesResponse, error) {
	id, err := s.resolve(ctx, "ListInboxes", req.GetDevice())
	if err != nil {
		return nil, err
	}
	all, err := s.messages.Inboxes(id)
	if err != nil {
		return nil, about(id, err)
	}
	response := &pb.ListInboxesResponse{}
	for _, i := range all {
		response.Inboxes = append(response.Inboxes, &pb.Inbox{
			Inbox: i.Name, Filters: i.Filters, Messages: uint64(i.Messages), Bytes: uint64(i.Bytes), OldestTime: timestamp(i.Oldest),
			Unanswered: uint64(i.Unanswered), Consumers: uint32(i.Consumers), MaxDeliveries: uint32(i.MaxDeliveries),
		})
	}
	return response, nil
}

func (s *messaging) DeleteInbox(ctx context.Context, req *pb.DeleteInboxRequest) (*pb.DeleteInboxResponse, error) {
	id, err := s.resolve(ctx, "DeleteInbox", req.GetDevice())
	if err != nil {
		return nil, err
	}
	if err := s.messages.DeleteInbox(id, req.GetInbox(), req.GetForce()); err != nil {
		return nil, about(id, err)
	}
	return &pb.DeleteInboxResponse{}, nil
}

// AnswerCalls has two goroutines: this one gives calls and results, the other takes answers.
func (s *messaging) AnswerCalls(stream grpc.BidiStreamingServer[pb.AnswerCallsRequest, pb.AnswerCallsResponse]) error {
	ctx, cancel := s.untilStopped(stream.Context())
	defer cancel()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	id, err := s.resolve(ctx, "AnswerCalls", first.GetDevice())
	if err != nil {
		return err
	}
	answerer, err := s.messages.AnswerCalls(id, first.GetTopics())
	if err != nil {
		return about(id, err)
	}
	defer answerer.Close()
	if err := s.permitFilters(ctx, "AnswerCalls", id, answerer.Filters()); err != nil {
		return err
	}
	giving, stop := context.WithCancelCause(ctx)
	go func() {
		if err := receiveAnswers(stream, answerer, first); err != nil {
			stop(err)
		}
		answerer.Finish() // the results of what it has answered are still to come
	}()
	return endOf(ctx, giving, id, giveCalls(giving, stream, answerer), message.ErrMailboxClosed)
}

func giveCalls(
	ctx context.Context, stream grpc.BidiStreamingServer[pb.AnswerCallsRequest, pb.AnswerCallsResponse], answerer *conn.Answerer,
) error {
	for {
		b, err := answerer.Take(ctx)
		if err != nil {
			return err
		}
		response := &pb.AnswerCallsResponse{Granted: b.Granted}
		for _, c := range b.Calls {
			response.Calls = append(response.Calls, &pb.Call{
				Call: c.ID, Topic: c.Topic, Payload: c.Payload, ReceiveTime: timestamp(c.Received), Deadline: timestamp(c.Deadline),
			})
		}
		for _, r := range b.Results {
			to := receiptTo(r)
			response.Results = append(response.Results, &pb.CallResult{
				Call: to.GetId(), Outcome: to.GetOutcome(), Reason: to.GetReason(), Detail: to.GetDetail(),
			})
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// receiveAnswers takes answers until the app closes its side.
func receiveAnswers(
	stream grpc.BidiStreamingServer[pb.AnswerCallsRequest, pb.AnswerCallsResponse], answerer *conn.Answerer, req *pb.AnswerCallsRequest,
) error {
	for {
		for _, a := range req.GetAnswers() {
			answerer.Answer(a.GetCall(), a.GetPayload())
		}
		var err error
		req, err = stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case req.GetDevice() != nil || len(req.GetTopics()) > 0:
			return errOtherDevice
		}
	}
}
