package conn

import (
	"context"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// ConsumeRequest says which inbox to consume, and how. What is zero has its default.
type ConsumeRequest struct {
	Inbox         string
	Filters       []string // none: those that the inbox has
	MaxDeliveries int
	Replace       bool
	Visibility    time.Duration // default 30 s
	MaxUnanswered int           // default 100
}

// Consumer is one app's stream from an inbox.
type Consumer struct {
	k       *Keeper
	inbox   *inbox.Consumer
	granted uint64 // the epoch that Take has told of; Take's own
}

// InboxBatch is what a Consumer has to say: any of it.
type InboxBatch struct {
	Granted bool
	inbox.Batch
}

// Consume begins to consume an inbox, which is made when there is none. Close the Consumer.
func (s *Set) Consume(id device.ID, r ConsumeRequest) (*Consumer, error) {
	k, err := s.known(id)
	if err != nil {
		return nil, err
	}
	if len(r.Filters) > 0 {
		if r.Filters, err = validFilters(id, r.Filters); err != nil {
			return nil, err
		}
	}
	if r.Visibility == 0 {
		r.Visibility = 30 * time.Second
	}
	if r.MaxUnanswered == 0 {
		r.MaxUnanswered = 100
	}
	f, err := s.openFiling(k)
	if err != nil {
		return nil, err
	}
	// They are held while the inbox takes them, so that none is one too many when it has.
	if err := k.filters.add(r.Filters); err != nil {
		return nil, err
	}
	defer k.filters.remove(r.Filters)
	box, err := f.shelf.Make(r.Inbox, inbox.Settings{Filters: r.Filters, MaxDeliveries: r.MaxDeliveries}, r.Replace)
	if err != nil {
		return nil, err
	}
	f.wantFilters(k)
	return &Consumer{k: k, inbox: box.Consume(r.Visibility, r.MaxUnanswered)}, nil
}

// Filters are those of the inbox.
func (c *Consumer) Filters() []string { return c.inbox.Filters() }

// Take waits for something to say. It ends with ctx's error, inbox.ErrUnknown, or ErrFilterRefused when there is nothing left to deliver.
func (c *Consumer) Take(ctx context.Context) (InboxBatch, error) {
	for {
		filters := c.inbox.Filters()
		epoch, granted, refused := c.k.filters.standing(filters)
		var b InboxBatch
		if epoch != 0 && epoch != c.granted && len(filters) > 0 {
			c.granted, b.Granted = epoch, true
		}
		var changed <-chan struct{}
		var next time.Time
		var err error
		b.Batch, changed, next, err = c.inbox.Now()
		switch {
		case err != nil:
			return InboxBatch{}, err
		case b.Granted || b.Missed > 0 || len(b.Deliveries) > 0:
			return b, nil
		case refused != nil:
			return InboxBatch{}, refused
		}
		if err := await(ctx, next, changed, granted); err != nil {
			return InboxBatch{}, err
		}
	}
}

// await waits for either channel, or until next if that is not zero.
func await(ctx context.Context, next time.Time, one, other <-chan struct{}) error {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(time.Until(next), time.Millisecond))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-one:
	case <-other:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Answer takes verdicts; see inbox.Consumer.
func (c *Consumer) Answer(answers []inbox.Answer) (stale, settled []uint64) {
	return c.inbox.Answer(answers)
}

// Close ends the stream. The inbox stays.
func (c *Consumer) Close() { c.inbox.Close() }

// CutShort is Close because the sidecar ends: what was delivered and has no answer counts as not delivered.
func (c *Consumer) CutShort() { c.inbox.CutShort() }

// Inboxes tells of the inboxes of a device.
func (s *Set) Inboxes(id device.ID) ([]inbox.Info, error) {
	k, err := s.known(id)
	if err != nil {
		return nil, err
	}
	if f := k.filing.Load(); f != nil {
		return f.shelf.List(), nil
	}
	return nil, nil
}

// DeleteInbox removes an inbox, and its subscription.
func (s *Set) DeleteInbox(id device.ID, name string, force bool) error {
	k, err := s.known(id)
	if err != nil {
		return err
	}
	f := k.filing.Load()
	if f == nil {
		return inbox.ErrUnknown
	}
	if err := f.shelf.Delete(name, force); err != nil {
		return err
	}
	f.wantFilters(k)
	return nil
}

// maxArrivals is how many messages wait to be put into inboxes. The platform sends no more than platform.MaxUnacknowledged of QoS 1.
const maxArrivals = 1024

// filing puts what arrives for a device into its inboxes.
type filing struct {
	shelf    *inbox.Shelf
	arrivals chan arrival
	stop     context.CancelFunc
	done     chan struct{}

	wanting chan struct{} // held by wantFilters; a channel, since the disk may be waited for
	wanted  []string      // filters that are added for the inboxes
}

// arrival is a message, and what tells the platform that it has been received.
type arrival struct {
	m   message.Incoming
	ack func()
}

// openFiling is the device's filing, begun when there is none.
func (s *Set) openFiling(k *Keeper) (*filing, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.filing.Load(); f != nil {
		return f, nil
	}
	switch {
	case k.env.queues == nil:
		return nil, errNoQueues
	case k.dead:
		return nil, ErrUnknownDevice
	case s.life.Err() != nil:
		return nil, ErrShuttingDown
	}
	shelf, err := inbox.Open(k.id, k.env.queues, k.env.inbox, k.env.log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(s.life)
	f := &filing{shelf: shelf, arrivals: make(chan arrival, maxArrivals), stop: stop, done: make(chan struct{}), wanting: make(chan struct{}, 1)}
	k.filing.Store(f)
	s.work.Go(func() {
		defer close(f.done)
		f.run(ctx, k)
	})
	return f, nil
}

// wantFilters makes the filters that are wanted for the inboxes those that the inboxes have.
func (f *filing) wantFilters(k *Keeper) {
	f.wanting <- struct{}{}
	defer func() { <-f.wanting }()
	now := f.shelf.Filters()
	if err := k.filters.add(now); err != nil { // a restart with more than the platform takes cannot be: they were held before
		k.log().Error("the filters of the inboxes cannot be subscribed to", "error", err)
		return
	}
	k.filters.remove(f.wanted)
	f.wanted = now
}

// run files what arrives until ctx ends, and what has arrived by then.
func (f *filing) run(ctx context.Context, k *Keeper) {
	for {
		select {
		case a := <-f.arrivals:
			f.file(ctx, k, f.gather(a))
		case <-ctx.Done():
			for len(f.arrivals) > 0 { // this is the only one who takes
				f.file(ctx, k, f.gather(<-f.arrivals))
			}
			return
		}
	}
}

// fileAtOnce is how many messages one transaction has.
const fileAtOnce = 256

// gather takes what has come together behind a.
func (f *filing) gather(a arrival) []arrival {
	some := []arrival{a}
	for len(some) < fileAtOnce {
		select {
		case a := <-f.arrivals:
			some = append(some, a)
		default:
			return some
		}
	}
	return some
}

// file puts messages into the inboxes and then tells the platform, in their order. While the disk does not take them, the platform is
// told nothing and sends no more than it may; what has QoS 0 it would not send again anyway, and is dropped.
func (f *filing) file(ctx context.Context, k *Keeper, some []arrival) {
	for tries := 0; ; tries++ {
		messages := make([]message.Incoming, len(some))
		for i, a := range some {
			messages[i] = a.m
		}
		err := f.shelf.Arrive(messages)
		if err == nil {
			break
		}
		if tries == 0 {
			k.log().Error("messages cannot be put into their inboxes; the platform keeps those of QoS 1", "error", err)
			some = f.dropUnkept(k, some)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return // unacknowledged
		}
	}
	for _, a := range some {
		a.ack()
	}
}

func (f *filing) dropUnkept(k *Keeper, some []arrival) []arrival {
	return slices.DeleteFunc(some, func(a arrival) bool {
		if a.m.QoS == 0 && f.shelf.Wants(a.m.Topic) {
			k.dropped(event.DropInboxStorage, a.m.Topic, 1)
		}
		return a.m.QoS == 0
	})
}

// loadInboxes begins to file for each device that has inboxes.
func (s *Set) loadInboxes() error {
	if s.env.queues == nil {
		return nil
	}
	ids, err := inbox.Stored(s.env.queues)
	if err != nil {
		return err
	}
	for _, id := range ids {
		k := s.keeper(id)
		f, err := s.openFiling(k)
		if err != nil {
			return err
		}
		f.wantFilters(k)
	}
	return nil
}

// dropInboxes removes all inboxes: the device is being forgotten.
func (k *Keeper) dropInboxes() error {
	f := k.filing.Swap(nil)
	switch {
	case k.env.queues == nil:
		return nil
	case f == nil: // what an earlier try to forget it did not get rid of may be left
		return inbox.Remove(k.id, k.env.queues)
	}
	f.stop()
	<-f.done
	err := f.shelf.Drop()
	f.wantFilters(k)
	return err
}

// tickInboxes does what is due every second.
func (k *Keeper) tickInboxes(now time.Time) {
	f := k.filing.Load()
	if f == nil {
		return
	}
	lost := f.shelf.Tick(now)
	k.dropped(event.DropInboxFull, lost.Topic, lost.Full)
	k.dropped(event.DropDeadLetter, lost.Topic, lost.Dead)
	k.dropped(event.DropByConsumer, lost.Topic, lost.Dropped)
}
