package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// dial connects an app that comes back soon when its sidecar does.
func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}, MinConnectTimeout: time.Second,
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// app is a program that is started again whenever it ends, until the test does.
type app struct {
	mu  sync.Mutex
	end context.CancelFunc
}

// live runs one life after the other. A life ends with its context, or when its streams break.
func live(t *testing.T, running *sync.WaitGroup, life func(context.Context)) *app {
	a := &app{}
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for ctx.Err() == nil {
			mine, end := context.WithCancel(ctx)
			a.mu.Lock()
			a.end = end
			a.mu.Unlock()
			life(mine)
			end()
			rest(ctx, 5*time.Millisecond)
		}
	})
	t.Cleanup(cancel)
	return a
}

// restart ends the present life.
func (a *app) restart() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.end != nil {
		a.end()
	}
}

// rest lets some time pass, or less when ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// gate lets apps make messages, or not.
type gate struct{ closed atomic.Bool }

// producer sends numbered messages to the platform. What it sends depends on the seed and the number alone.
type producer struct {
	*app
	seed     uint64
	messages pb.MessagingServiceClient
	ledger   *ledger
	gate     *gate
	last     int          // number given out
	step     int          // between numbers
	flood    atomic.Int64 // messages to send at once
	again    []int        // with a key, to be given again: whether they were taken is not known
	idle     atomic.Bool  // nothing is without its receipt
}

// startProducer starts one whose numbers are first, first+step, and so on: so several have numbers of their own.
func startProducer(t *testing.T, running *sync.WaitGroup, p *producer, first, step int) *producer {
	p.last, p.step = first-step, step
	p.app = live(t, running, p.live)
	return p
}

// message makes the message of a number.
func (p *producer) message(number int) *pb.OutgoingMessage {
	r := rand.New(rand.NewPCG(p.seed, uint64(number)))
	m := &pb.OutgoingMessage{Topic: upTopic, Payload: fmt.Appendf(nil, "%d %*d", number, 1+r.IntN(300), 0)}
	if r.IntN(10) < 2 {
		return m // CONFIRMED
	}
	m.Assurance = pb.Assurance_ASSURANCE_STORED
	if r.IntN(5) == 0 {
		m.Priority = 5
	}
	if r.IntN(3) == 0 {
		m.Key = fmt.Sprint("key-", number)
	}
	return m
}

// sending is one stream of a producer.
type sending struct {
	mu      sync.Mutex
	id      uint64
	numbers map[uint64]int // by id; those that wait for their first receipt
	ends    map[uint64]int // those that wait for their last
}

func (p *producer) live(ctx context.Context) {
	stream, err := p.messages.PublishStream(ctx)
	if err != nil {
		return
	}
	s := &sending{numbers: map[uint64]int{}, ends: map[uint64]int{}}
	received := make(chan struct{})
	go func() {
		defer close(received)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			for _, receipt := range r.Receipts {
				s.note(p.ledger, receipt)
			}
		}
	}()
	p.send(ctx, stream, s, received)
	<-received // Recv fails when the stream is broken or ctx has ended
	for _, id := range slices.Sorted(maps.Keys(s.numbers)) {
		number := s.numbers[id]
		p.ledger.broke(number)
		if p.message(number).Key != "" {
			p.again = append(p.again, number)
		}
	}
}

// note takes a receipt.
func (s *sending) note(l *ledger, r *pb.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, first := s.numbers[r.Id]
	if !first {
		number = s.ends[r.Id]
	}
	l.receipt(number, r)
	delete(s.numbers, r.Id)
	if r.Outcome == pb.Outcome_OUTCOME_STORED {
		s.ends[r.Id] = number
	} else {
		delete(s.ends, r.Id)
	}
}

// send sends until ctx ends or the stream does.
func (p *producer) send(ctx context.Context, stream pb.MessagingService_PublishStreamClient, s *sending, broken <-chan struct{}) {
	for {
		s.mu.Lock()
		waiting := len(s.numbers)
		s.mu.Unlock()
		p.idle.Store(p.gate.closed.Load() && waiting == 0 && len(p.again) == 0)
		request := &pb.PublishStreamRequest{}
		if waiting < 1000 {
			s.mu.Lock()
			for _, number := range p.batch() {
				s.id++
				m := p.message(number)
				m.Id = s.id
				s.numbers[m.Id] = number
				p.ledger.gave(m, number)
				request.Messages = append(request.Messages, m)
			}
			s.mu.Unlock()
		}
		if len(request.Messages) > 0 && stream.Send(request) != nil {
			return
		}
		select {
		case <-broken:
			return
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond): // the pace of the source
		}
	}
}

// batch numbers the next messages: those to be given again, then new ones, and some that were given and have a key.
func (p *producer) batch() []int {
	numbers := p.again
	p.again = nil
	if p.gate.closed.Load() {
		return numbers
	}
	r := rand.New(rand.NewPCG(p.seed+1, uint64(p.last)))
	for range 1 + r.IntN(4) + int(p.flood.Swap(0)) {
		p.last += p.step
		numbers = append(numbers, p.last)
	}
	if old := p.last - p.step*(1+r.IntN(50)); old > 0 && r.IntN(4) == 0 && p.message(old).Key != "" && !slices.Contains(numbers, old) {
		numbers = append(numbers, old) // its receipt will say that it is known, if it was taken
	}
	return numbers
}

// consumer reads an inbox.
type consumer struct {
	*app
	messages pb.MessagingServiceClient
	ledger   *ledger
	silent   atomic.Bool // it reads, and does not answer, for the rest of its life
}

func startConsumer(t *testing.T, running *sync.WaitGroup, c *consumer) *consumer {
	c.app = live(t, running, c.live)
	return c
}

func (c *consumer) live(ctx context.Context) {
	c.silent.Store(false)
	stream, err := c.messages.Consume(ctx)
	if err != nil || stream.Send(&pb.ConsumeRequest{Open: &pb.OpenInbox{Inbox: "ledger", Filters: []string{downTopic}}}) != nil {
		return
	}
	type delivery struct {
		sequence uint64
		number   int
	}
	waiting := map[uint64]delivery{} // for their answer to be settled
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		for _, d := range r.Settled {
			c.ledger.answered(waiting[d].sequence, waiting[d].number)
			delete(waiting, d)
		}
		answers := &pb.ConsumeRequest{}
		for _, d := range r.Deliveries {
			number := c.ledger.delivered(d)
			waiting[d.Delivery] = delivery{d.Sequence, number}
			answers.Answers = append(answers.Answers, &pb.Answer{Delivery: d.Delivery, Verdict: pb.Verdict_VERDICT_DONE})
		}
		if len(answers.Answers) > 0 && !c.silent.Load() && stream.Send(answers) != nil {
			return
		}
	}
}

// pusher is an app of the platform that sends numbered messages to the device.
type pusher struct {
	*app
	console atomic.Pointer[sandboxv1.SandboxServiceClient]
	ledger  *ledger
	gate    *gate
	last    int
	idle    atomic.Bool
}

func startPusher(t *testing.T, running *sync.WaitGroup, p *pusher) *pusher {
	p.app = live(t, running, p.live)
	return p
}

func (p *pusher) live(ctx context.Context) {
	for ctx.Err() == nil {
		p.idle.Store(p.gate.closed.Load())
		if !p.idle.Load() {
			p.last++
			r, err := (*p.console.Load()).PublishDownstream(ctx, &sandboxv1.PublishDownstreamRequest{
				Device: harness.ConsoleDevice("dev-001"), Topic: downTopic, Payload: fmt.Append(nil, p.last), Qos: 1,
			})
			if err != nil {
				r = &sandboxv1.PublishDownstreamResponse{}
			}
			p.ledger.told(p.last, r.GetDelivery())
		}
		rest(ctx, 15*time.Millisecond)
	}
}
