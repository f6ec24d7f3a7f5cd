package conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Call is an RRPC request from the platform.
type Call struct {
	ID       uint64
	Topic    string
	Payload  []byte
	Received time.Time
	Deadline time.Time
}

// Answerer is one app's stream of calls that it answers.
type Answerer struct {
	k         *Keeper
	filters   []string
	publisher *Publisher // of the answers; their receipts are the results

	granted uint64 // the epoch that Take has told of; Take's own

	mu    sync.Mutex
	bell  chan struct{} // capacity 1; carries no data
	queue []Call
	open  map[uint64]*openCall
	ended error
	// given is how many answers have no result yet; after Finish, the stream ends with the last one's.
	given    int
	finished bool
}

// openCall is a call that was given to an app. It is remembered for a while after its end, to tell "late" and "twice" from "never".
type openCall struct {
	topic    string // of the answer
	deadline time.Time
	answered bool
}

// CallBatch is what an Answerer has to say: any of it.
type CallBatch struct {
	Granted bool
	Calls   []Call
	Results []message.Receipt // of answers, by the ids of their calls
}

// AnswerCalls begins to take calls. No topics are those that the platform sends unasked. Close the Answerer.
func (s *Set) AnswerCalls(id device.ID, topics []string) (*Answerer, error) {
	filters, err := callFilters(id, topics)
	if err != nil {
		return nil, err
	}
	p, err := s.Publisher(id)
	if err != nil {
		return nil, err
	}
	if err := p.k.filters.add(filters); err != nil {
		p.Close()
		return nil, err
	}
	a := &Answerer{k: p.k, filters: filters, publisher: p, bell: make(chan struct{}, 1), open: map[uint64]*openCall{}}
	p.k.answerers.add(a)
	if now, err := s.known(id); err != nil || now != p.k { // it was forgotten, or the sidecar stops, since
		a.finish(cmp.Or(err, ErrUnknownDevice))
	}
	return a, nil
}

func systemCalls(id device.ID) string { return "/sys/" + id.String() + "/rrpc/request/" }

// callFilters are the topic filters of calls.
func callFilters(id device.ID, topics []string) ([]string, error) {
	if len(topics) == 0 {
		topics = []string{systemCalls(id) + "+", "/sys/" + id.String() + "/thing/service/+"}
	}
	filters := make([]string, len(topics))
	for i, t := range topics {
		if filters[i] = t; !strings.HasPrefix(t, systemCalls(id)) {
			filters[i] = "/ext/rrpc/+" + t
			if !strings.HasPrefix(t, "/") {
				return nil, fieldError("topics", fmt.Sprintf("%.64q must begin with a slash", t))
			}
		}
	}
	return validFilters(id, filters)
}

// answerTopic is where the answer to a call goes: the request's own topic, or, for system calls, the one beside it.
func answerTopic(id device.ID, topic string) string {
	if call, system := strings.CutPrefix(topic, systemCalls(id)); system {
		return "/sys/" + id.String() + "/rrpc/response/" + call
	}
	return topic
}

// Close ends the stream. Calls that it has not answered get no answer.
func (a *Answerer) Close() {
	a.k.answerers.remove(a)
	a.k.filters.remove(a.filters)
	a.publisher.Close()
}

// Filters are those of the calls.
func (a *Answerer) Filters() []string { return a.filters }

// Take waits for something to say. It ends with ctx's error, ErrFilterRefused, ErrUnknownDevice or ErrShuttingDown,
// and after Finish with message.ErrMailboxClosed.
func (a *Answerer) Take(ctx context.Context) (CallBatch, error) {
	for {
		epoch, changed, refused := a.k.filters.standing(a.filters)
		if refused != nil {
			return CallBatch{}, refused
		}
		var b CallBatch
		if epoch != 0 && epoch != a.granted {
			a.granted, b.Granted = epoch, true
		}
		a.mu.Lock()
		b.Calls, a.queue = a.queue, nil
		ended := a.ended
		a.mu.Unlock()
		b.Results = a.publisher.Receipts().Now()
		if a.reopen(b.Results) && ended == nil {
			ended = message.ErrMailboxClosed
		}
		switch {
		case b.Granted || len(b.Calls)+len(b.Results) > 0:
			return b, nil
		case ended != nil:
			return CallBatch{}, ended
		}
		select {
		case <-a.bell:
		case <-a.publisher.Receipts().Bell():
		case <-changed:
		case <-ctx.Done():
			return CallBatch{}, ctx.Err()
		}
	}
}

// Finish says that no more answers come. Take ends with message.ErrMailboxClosed after the last result.
func (a *Answerer) Finish() {
	a.mu.Lock()
	a.finished = true
	a.mu.Unlock()
	a.ring()
}

// reopen lets calls be answered again whose answer did not get through. It reports whether these are the last results.
func (a *Answerer) reopen(results []message.Receipt) (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.given -= len(results)
	for _, r := range results {
		if c := a.open[r.ID]; c != nil && r.Outcome == message.Failed && errors.Is(r.Err, ErrNotOnline) {
			c.answered = false
		}
	}
	return a.finished && a.given == 0
}

// Answer sends the answer to a call. What becomes of it is a result of Take.
func (a *Answerer) Answer(call uint64, payload []byte) {
	a.mu.Lock()
	a.given++
	a.mu.Unlock()
	topic, err := a.close(call, payload)
	if err != nil {
		a.publisher.Receipts().Put(message.Receipt{ID: call, Outcome: message.Failed, Err: err})
		return
	}
	a.publisher.Publish([]message.Outgoing{{ID: call, Topic: topic, Payload: payload}})
}

// close marks a call as answered, and returns the topic for the answer.
func (a *Answerer) close(call uint64, payload []byte) (topic string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.open[call]
	switch {
	case c == nil:
		return "", ErrCallUnknown
	case c.answered:
		return "", ErrCallAnswered
	case time.Now().After(c.deadline):
		return "", ErrCallExpired
	case len(payload) > platform.MaxPayloadBytes:
		return "", fieldError("payload", fmt.Sprintf("has %d bytes; the platform takes %d", len(payload), platform.MaxPayloadBytes))
	}
	c.answered = true
	return c.topic, nil
}

// rememberCalls is for how long after its deadline a call is known.
const rememberCalls = time.Minute

func (a *Answerer) give(id uint64, m message.Incoming) {
	a.mu.Lock()
	for old, c := range a.open {
		if m.ReceivedAt.Sub(c.deadline) > rememberCalls {
			delete(a.open, old)
		}
	}
	deadline := m.ReceivedAt.Add(platform.RRPCDeadline)
	a.open[id] = &openCall{topic: answerTopic(a.k.id, m.Topic), deadline: deadline}
	a.queue = append(slices.DeleteFunc(a.queue, func(c Call) bool { return m.ReceivedAt.After(c.Deadline) }), // nobody waits for those any more
		Call{ID: id, Topic: m.Topic, Payload: m.Payload, Received: m.ReceivedAt, Deadline: deadline})
	a.mu.Unlock()
	a.ring()
}

func (a *Answerer) finish(why error) {
	a.mu.Lock()
	a.ended = why
	a.mu.Unlock()
	a.ring()
}

func (a *Answerer) ring() {
	select {
	case a.bell <- struct{}{}:
	default:
	}
}

// answerers are those of one device.
type answerers struct {
	mu   sync.Mutex
	all  []*Answerer
	last uint64 // call given out
}

func (x *answerers) add(a *Answerer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, a)
}

func (x *answerers) remove(a *Answerer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = slices.DeleteFunc(x.all, func(other *Answerer) bool { return other == a })
}

// offer gives a message that is a call to one of those who answer its topic, in turn.
func (x *answerers) offer(m message.Incoming) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, a := range x.all {
		if platform.MatchAny(a.filters, m.Topic) {
			x.last++
			a.give(x.last, m)
			x.all = append(append(x.all[:i:i], x.all[i+1:]...), a)
			return true
		}
	}
	return false
}

func (x *answerers) finish(why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.all {
		a.finish(why)
	}
}
