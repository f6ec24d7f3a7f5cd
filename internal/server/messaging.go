package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// Messages is what carries messages. *conn.Set does it.
type Messages interface {
	Publisher(id device.ID) (*conn.Publisher, error)
	Subscribe(id device.ID, filters []string, queue int) (*conn.Subscription, error)
	Consume(id device.ID, r conn.ConsumeRequest) (*conn.Consumer, error)
	Inboxes(id device.ID) ([]inbox.Info, error)
	DeleteInbox(id device.ID, name string, force bool) error
	AnswerCalls(id device.ID, topics []string) (*conn.Answerer, error)
}

// maxUnanswered is how many messages of one stream may be without a receipt. A stream that sends more is read no further until
// some have theirs.
const maxUnanswered = 10_000

// receiptsAtOnce is how many receipts a response has at most.
const receiptsAtOnce = 256

// A response costs an app more than the receipts in it: in Python ten times as much as one of them. So receipts that come soon after the
// response before wait for each other while many more are due. One that only few will follow does not wait.
const (
	receiptsRest   = 500 * time.Microsecond // from one response to the next
	receiptsEnough = 32                     // do not wait
	receiptsMany   = 8
)

var (
	errDuplicateID = errors.New("a message has the id of one that has no receipt yet: number the messages of a stream")
	errOtherDevice = &platform.FieldError{Field: "device", Problem: "belongs into the first request of a stream; use a stream for each device"}
)

// messaging is MessagingService.
type messaging struct {
	pb.UnimplementedMessagingServiceServer
	*service
	messages Messages
	tracer   *trace.Tracer   // may be nil
	stopping <-chan struct{} // closed when the server stops
}

func (s *messaging) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	id, err := s.resolve(ctx, "Publish", req.GetDevice())
	if err != nil {
		return nil, err
	}
	m, err := outgoingFrom(req.GetMessage())
	if err != nil {
		return nil, about(id, within("message", err))
	}
	if err := s.permitPublish(ctx, "Publish", id, m.Topic); err != nil {
		return nil, err
	}
	p, err := s.messages.Publisher(id)
	if err != nil {
		return nil, about(id, err)
	}
	defer p.Close()
	span := s.traceMessage(ctx, id, req.GetMessage(), &m)
	p.Publish([]message.Outgoing{m})
	receipts, err := p.Receipts().Take(ctx)
	if err != nil {
		span.End(reasonOf(err), err)
		return nil, err
	}
	r := receipts[0]
	span.EndPublish(r, reasonOf(r.Err))
	if r.Err != nil && !r.Duplicate { // how an earlier one ended is an answer, not an error
		return nil, about(id, within("message", r.Err))
	}
	return &pb.PublishResponse{Outcome: pb.Outcome(r.Outcome), Sequence: r.Sequence, Duplicate: r.Duplicate}, nil
}

// within puts the path of the message before the field that an error names.
func within(path string, err error) error {
	if f, ok := errors.AsType[*platform.FieldError](err); ok {
		return &platform.FieldError{Field: path + "." + f.Field, Problem: f.Problem}
	}
	return err
}

func outgoingFrom(m *pb.OutgoingMessage) (message.Outgoing, error) {
	qos := uint32(1)
	if m != nil && m.Qos != nil {
		qos = m.GetQos()
	}
	switch {
	case m.GetRetain():
		return message.Outgoing{}, &platform.FieldError{Field: "retain", Problem: "must be false: the platform has no retained messages"}
	case qos > 1:
		return message.Outgoing{}, &platform.FieldError{Field: "qos", Problem: fmt.Sprintf("is %d; the platform has QoS 0 and 1", qos)}
	case m.GetAssurance() < 0 || m.GetAssurance() > pb.Assurance_ASSURANCE_STORED:
		return message.Outgoing{}, &platform.FieldError{Field: "assurance", Problem: "must be CONFIRMED or STORED"}
	case m.GetPriority() > message.MaxPriority:
		return message.Outgoing{}, &platform.FieldError{Field: "priority", Problem: fmt.Sprintf("must be 0 to %d", message.MaxPriority)}
	}
	out := message.Outgoing{ID: m.GetId(), Topic: m.GetTopic(), Payload: m.GetPayload(), QoS: byte(qos)}
	out.Stored = m.GetAssurance() == pb.Assurance_ASSURANCE_STORED
	out.TTL, out.Priority, out.Key = time.Duration(m.GetTtl())*time.Second, byte(m.GetPriority()), m.GetKey()
	return out, nil
}

func (s *messaging) PublishStream(stream grpc.BidiStreamingServer[pb.PublishStreamRequest, pb.PublishStreamResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	id, err := s.resolve(stream.Context(), "PublishStream", first.GetDevice())
	if err != nil {
		return err
	}
	p, err := s.messages.Publisher(id)
	if err != nil {
		return about(id, err)
	}
	defer p.Close()
	x := &exchange{publisher: p, stream: stream, room: semaphore.NewWeighted(maxUnanswered), waiting: map[uint64]bool{}}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	x.trace = func(m *pb.OutgoingMessage, out *message.Outgoing) *trace.Span { return s.traceMessage(ctx, id, m, out) }
	defer x.leaveTraces()
	x.permit = func(topic string) error { return s.permitPublish(ctx, "PublishStream", id, topic) }
	go x.receive(ctx, first) // ends with the stream, which is when this function has returned
	go func() {
		select {
		case <-s.stopping:
			x.stop()
		case <-ctx.Done():
		}
	}()
	err = x.answer(ctx)
	x.finish(err, true) // nothing is handed over from now on
	if x.why == nil {
		return nil
	}
	return about(id, x.why)
}

// exchange is one PublishStream: one goroutine receives messages, another answers with receipts.
type exchange struct {
	publisher *conn.Publisher
	stream    grpc.BidiStreamingServer[pb.PublishStreamRequest, pb.PublishStreamResponse]
	room      *semaphore.Weighted // for messages without a receipt
	permit    func(topic string) error
	trace     func(*pb.OutgoingMessage, *message.Outgoing) *trace.Span

	mu      sync.Mutex
	waiting map[uint64]bool // ids that await a receipt; true: they have had one
	due     int             // how many have had none
	traced  traces          // of those that have had none
	over    bool            // no more messages are taken
	stopped bool            // the server stops
	why     error           // how the stream ends
}

// finish takes no more messages. The stream ends after the last receipt or, with now, at once. The first why counts.
func (x *exchange) finish(why error, now bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.over, x.why = true, why
	}
	if now {
		x.publisher.Receipts().Close()
		return
	}
	x.endIfDone()
}

// stop takes no more messages, and waits for first receipts only: that a STORED message ends may take for ever.
func (x *exchange) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	if !x.over {
		x.over, x.why = true, conn.ErrShuttingDown
	}
	x.endIfDone()
}

// endIfDone ends the stream when the receipts have been sent for which it waits. mu is held.
func (x *exchange) endIfDone() {
	if !x.over {
		return
	}
	for _, answered := range x.waiting {
		if !x.stopped || !answered {
			return
		}
	}
	if len(x.waiting) > 0 && x.why == nil {
		x.why = conn.ErrShuttingDown // the app had closed its side, and waited for these
	}
	x.publisher.Receipts().Close()
}

// receive hands messages over until the app closes its side.
func (x *exchange) receive(ctx context.Context, req *pb.PublishStreamRequest) {
	for {
		if err := x.take(ctx, req.GetMessages()); err != nil {
			x.finish(err, true)
			return
		}
		var err error
		req, err = x.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			x.finish(nil, false)
			return
		case err != nil:
			x.finish(err, true)
			return
		case req.GetDevice() != nil:
			x.finish(errOtherDevice, true)
			return
		}
	}
}

func (x *exchange) take(ctx context.Context, all []*pb.OutgoingMessage) error {
	for len(all) > 0 {
		part := all[:min(len(all), maxUnanswered)]
		all = all[len(part):]
		if err := x.room.Acquire(ctx, int64(len(part))); err != nil {
			return err
		}
		if err := x.publish(part); err != nil {
			return err
		}
	}
	return nil
}

// publish holds mu all the while: after finish, nothing is handed over.
func (x *exchange) publish(part []*pb.OutgoingMessage) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	good := make([]message.Outgoing, 0, len(part))
	for _, m := range part {
		if _, waits := x.waiting[m.GetId()]; waits {
			return errDuplicateID
		}
		if x.over {
			return x.why
		}
		x.waiting[m.GetId()] = false
		x.due++
		out, err := outgoingFrom(m)
		if err == nil {
			err = x.permit(out.Topic)
		}
		if err != nil {
			x.publisher.Receipts().Put(message.Receipt{ID: m.GetId(), Outcome: message.Failed, Err: err})
			continue
		}
		if trace.Valid(m.GetTraceparent()) { // the stream's own span would have children without end
			x.traced.begin(m.GetId(), x.trace(m, &out))
		}
		good = append(good, out)
	}
	x.publisher.Publish(good)
	return nil
}

// answer sends receipts as they come. It returns nil when no more will.
func (x *exchange) answer(ctx context.Context) error {
	var answered time.Time
	for {
		receipts, err := x.publisher.Receipts().Take(ctx)
		if errors.Is(err, message.ErrMailboxClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if rest := receiptsRest - time.Since(answered); rest > 0 {
			if due := x.stillDue(); due-len(receipts) >= receiptsMany {
				receipts = x.publisher.Receipts().More(ctx, receipts, min(due, receiptsEnough), rest)
			}
		}
		for len(receipts) > 0 {
			part := receipts[:min(len(receipts), receiptsAtOnce)]
			receipts = receipts[len(part):]
			response := &pb.PublishStreamResponse{Receipts: make([]*pb.Receipt, len(part))}
			for i, r := range part {
				response.Receipts[i] = receiptTo(r)
			}
			if err := x.stream.Send(response); err != nil {
				return err
			}
			x.done(part)
		}
		answered = time.Now()
	}
}

// stillDue returns how many messages have had no receipt.
func (x *exchange) stillDue() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.due
}

func (x *exchange) done(receipts []message.Receipt) {
	x.mu.Lock()
	defer x.mu.Unlock()
	answered := int64(0)
	for _, r := range receipts {
		if !x.waiting[r.ID] {
			answered++ // its first
			x.traced.end(r)
		}
		if r.Outcome.Final() {
			delete(x.waiting, r.ID)
		} else {
			x.waiting[r.ID] = true
		}
	}
	x.due -= int(answered)
	x.room.Release(answered)
	x.endIfDone()
}

func receiptTo(r message.Receipt) *pb.Receipt {
	receipt := &pb.Receipt{Id: r.ID, Outcome: pb.Outcome(r.Outcome), Sequence: r.Sequence, Duplicate: r.Duplicate}
	if r.Err != nil {
		v, known := judge(r.Err)
		if !known {
			v.reason = pb.ErrorReason_ERROR_REASON_INTERNAL
		}
		receipt.Reason, receipt.Detail = v.reason, r.Err.Error()
	}
	return receipt
}

func (s *messaging) Subscribe(req *pb.SubscribeRequest, stream grpc.ServerStreamingServer[pb.SubscribeResponse]) error {
	ctx, cancel := s.untilStopped(stream.Context())
	defer cancel()
	id, err := s.resolve(ctx, "Subscribe", req.GetDevice())
	if err != nil {
		return err
	}
	if err := s.permitFilters(ctx, "Subscribe", id, req.GetFilters()); err != nil {
		return err
	}
	subscription, err := s.messages.Subscribe(id, req.GetFilters(), int(req.GetMaxWaiting()))
	if err != nil {
		return about(id, err)
	}
	defer subscription.Close()
	for {
		batch, err := subscription.Take(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return about(id, err)
		}
		if err := stream.Send(batchTo(batch)); err != nil {
			return err
		}
	}
}

func batchTo(b conn.Batch) *pb.SubscribeResponse {
	response := &pb.SubscribeResponse{Granted: b.Granted, Missed: b.Missed, Messages: make([]*pb.IncomingMessage, len(b.Messages))}
	for i, m := range b.Messages {
		response.Messages[i] = incomingTo(m)
	}
	return response
}

func incomingTo(m message.Incoming) *pb.IncomingMessage {
	return &pb.IncomingMessage{
		Topic: m.Topic, Payload: m.Payload, Qos: uint32(m.QoS), Duplicate: m.Duplicate, ReceiveTime: timestamppb.New(m.ReceivedAt),
	}
}

// untilStopped is ctx, and ends with ErrShuttingDown as its cause when the server stops.
func (s *messaging) untilStopped(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.stopping:
			cancel(conn.ErrShuttingDown)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
