package conn

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Subscription is one app's subscription to topic filters of a device. Its messages wait in a bounded queue of its own: one that
// does not take them loses its own, and is told how many.
type Subscription struct {
	k       *Keeper
	filters []string
	bell    chan struct{} // rings when Take may have something; carries no data

	// Take's own:
	granted uint64    // the epoch that it has told of
	took    time.Time // when it last had messages
	counted int       // so many since
	since   time.Time
	busy    bool // so many came before since that a rest pays

	mu     sync.Mutex
	queue  []message.Incoming
	enough int // so many in the queue ring the bell
	limit  int
	missed uint64
	ended  error
}

// Batch is what a Subscription has to say: any of the three.
type Batch struct {
	// Granted: the platform has granted all filters on the link that is up now, for the first time or again.
	Granted bool
	// Missed is how many messages were dropped before those that follow, because the app had not taken them.
	Missed   uint64
	Messages []message.Incoming
}

const (
	// DefaultQueue is how many messages wait for a subscription that does not say.
	DefaultQueue = 1024
	maxQueue     = 100_000
	// batchSize is how many messages a Batch has at most.
	batchSize = 64
	// restTime is how long Take rests after messages while many come, so that they come together, up to restCount: each batch costs an app
	// more than the messages in it. Many are 4,000 a second, in the last busyTime or more: below that it is the time of each that counts.
	restTime  = 500 * time.Microsecond
	restCount = 16
	busyTime  = 10 * time.Millisecond
	busyCount = 40
)

// Subscribe begins a subscription. The device need not be online: it is subscribed when it is. Close it.
func (s *Set) Subscribe(id device.ID, topicFilters []string, queue int) (*Subscription, error) {
	k, err := s.known(id)
	if err != nil {
		return nil, err
	}
	switch {
	case queue == 0:
		queue = DefaultQueue
	case queue < 0 || queue > maxQueue:
		return nil, fieldError("queue", "must be 1 to 100000 messages")
	}
	if topicFilters, err = validFilters(id, topicFilters); err != nil {
		return nil, err
	}
	if err := k.filters.add(topicFilters); err != nil {
		return nil, err
	}
	r := &Subscription{k: k, filters: topicFilters, limit: queue, enough: 1, bell: make(chan struct{}, 1)}
	k.readers.add(r)
	if now, err := s.known(id); err != nil || now != k { // it was forgotten, or the sidecar stops, since
		r.finish(cmp.Or(err, ErrUnknownDevice))
	}
	return r, nil
}

// validFilters checks filters and takes out what is named twice.
func validFilters(id device.ID, all []string) ([]string, error) {
	if len(all) == 0 {
		return nil, fieldError("filters", "name at least one topic filter")
	}
	for _, f := range all {
		if err := platform.ValidateFilter(id, f); err != nil {
			return nil, err
		}
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Close ends the subscription. A filter that nobody else wants is unsubscribed.
func (r *Subscription) Close() {
	r.k.readers.remove(r)
	r.k.filters.remove(r.filters)
}

// Take waits for something to say. It ends with ctx's error, ErrFilterRefused, ErrUnknownDevice when the device was forgotten, or
// ErrShuttingDown.
func (r *Subscription) Take(ctx context.Context) (Batch, error) {
	r.rest(ctx)
	for {
		epoch, changed, refused := r.k.filters.standing(r.filters)
		if refused != nil {
			return Batch{}, refused
		}
		var b Batch
		if epoch != 0 && epoch != r.granted {
			r.granted, b.Granted = epoch, true
		}
		if r.granted != 0 { // what comes before the first SUBACK waits for it
			r.drain(&b)
		}
		r.count(len(b.Messages))
		if b.Granted || b.Missed > 0 || len(b.Messages) > 0 {
			return b, nil
		}
		if err := r.end(); err != nil {
			return Batch{}, err
		}
		select {
		case <-r.bell:
		case <-changed:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

func (r *Subscription) count(n int) {
	if n == 0 {
		return
	}
	r.took = time.Now()
	r.counted += n
	if lasted := r.took.Sub(r.since); lasted >= busyTime {
		r.busy = lasted <= time.Duration(r.counted)*busyTime/busyCount
		r.since, r.counted = r.took, 0
	}
}

// rest waits until restTime has passed since the last messages, or restCount are there, or so many that soon one would be dropped.
func (r *Subscription) rest(ctx context.Context) {
	left := restTime - time.Since(r.took)
	if !r.busy || left <= 0 || !r.awaits(min(restCount, r.limit/2)) {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-r.bell:
	case <-timer.C:
	case <-ctx.Done():
	}
	r.awaits(1)
}

// awaits has the bell rung by so many messages, and tells whether there is anything to wait for.
func (r *Subscription) awaits(enough int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil || len(r.queue) >= enough {
		r.enough = 1
		return false
	}
	select {
	case <-r.bell: // of messages that were taken, or are too few
	default:
	}
	r.enough = max(enough, 1)
	return true
}

func (r *Subscription) drain(b *Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), batchSize)
	b.Missed, b.Messages = r.missed, r.queue[:n:n]
	r.missed = 0
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue = nil
	}
}

func (r *Subscription) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// finish ends the subscription from the other side.
func (r *Subscription) finish(why error) {
	r.mu.Lock()
	r.ended = why
	r.mu.Unlock()
	r.ring()
}

// offer queues a message that matches. When the queue is full the oldest makes room: what is newest is worth most.
func (r *Subscription) offer(m message.Incoming) (dropped bool) {
	r.mu.Lock()
	if dropped = len(r.queue) >= r.limit; dropped {
		r.queue[0] = message.Incoming{}
		r.queue = r.queue[1:]
		r.missed++
	}
	r.queue = append(r.queue, m)
	enough := len(r.queue) >= r.enough
	r.mu.Unlock()
	if enough {
		r.ring()
	}
	return dropped
}

func (r *Subscription) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// readers are the subscriptions of one device.
type readers struct {
	mu  sync.Mutex
	all []*Subscription // replaced, never changed: offer goes through it without the lock
}

func (x *readers) add(r *Subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(slices.Clone(x.all), r)
}

func (x *readers) remove(r *Subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = slices.DeleteFunc(slices.Clone(x.all), func(other *Subscription) bool { return other == r })
}

func (x *readers) now() []*Subscription {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all
}

// offer hands a message to all that match, and tells how many those were and how many of them dropped another for it.
func (x *readers) offer(m message.Incoming) (matched, dropped int) {
	for _, r := range x.now() {
		if platform.MatchAny(r.filters, m.Topic) {
			matched++
			if r.offer(m) {
				dropped++
			}
		}
	}
	return matched, dropped
}

// finish ends all subscriptions.
func (x *readers) finish(why error) {
	for _, r := range x.now() {
		r.finish(why)
	}
}
