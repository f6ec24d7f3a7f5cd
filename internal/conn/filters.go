package conn

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// filters are the topic filters that a device is to be subscribed to, each counted by those who want it. Whoever changes them
// only leaves a note; a goroutine of the link's (subscribe, below) makes the platform agree.
type filters struct {
	free func(string) bool // what the platform subscribes a device to by itself: it does not count

	mu      sync.Mutex
	wanted  map[string]*filter // nil before the first
	noted   func()             // is called when the link may have something to do, and must not wait; nil while none is up
	links   uint64             // that were up so far
	epoch   uint64             // of the link that is up; 0 while none is
	auto    bool               // on that link the platform sends unasked on the topics of what is free
	changed bell               // rings when a filter's standing changes
}

// filter is one topic filter. An entry that nobody wants any more stays until the platform was told.
type filter struct {
	users   int
	granted uint64 // on the link of this epoch
	sent    bool   // the platform knows of it, so it must be told of the end
	refused error
}

// add wants filters, all or none of them.
func (s *filters) add(names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counted(names) > platform.MaxSubscriptions {
		return ErrTooManyFilters
	}
	if s.wanted == nil {
		s.wanted = map[string]*filter{}
	}
	for _, name := range names {
		f := s.wanted[name]
		if f == nil {
			f = &filter{}
			s.wanted[name] = f
		}
		if f.users == 0 || f.refused != nil { // asked again: its end may be on its way to the platform, or the platform changed its mind
			f.refused, f.granted = nil, 0
		}
		f.users++
	}
	s.note()
	return nil
}

// counted is how many subscriptions there are with names. A login to which the platform subscribes nothing by itself may still ask for
// more than it takes; the platform then refuses some. mu is held.
func (s *filters) counted(names []string) (n int) {
	for name := range s.wanted {
		if !s.free(name) {
			n++
		}
	}
	for _, name := range names {
		if s.wanted[name] == nil && !s.free(name) {
			n++
		}
	}
	return n
}

// remove ends what add began.
func (s *filters) remove(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if f := s.wanted[name]; f != nil {
			f.users--
			if f.users == 0 && !f.sent {
				delete(s.wanted, name)
			}
		}
	}
	s.note()
}

// standing tells how names stand: the epoch of the link on which all are granted (0 when not all are), or why one is refused.
// changed is closed when that may have changed.
func (s *filters) standing(names []string) (epoch uint64, changed <-chan struct{}, refused error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch = s.epoch
	for _, name := range names {
		f := s.wanted[name]
		switch {
		case f == nil:
			epoch = 0
		case f.refused != nil:
			return 0, s.changed.next(), f.refused
		case f.granted != s.epoch:
			epoch = 0
		}
	}
	return epoch, s.changed.next(), nil
}

// count tells how those that are wanted stand on the link that is up.
func (s *filters) count() (all Filters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.wanted {
		switch {
		case f.users == 0 || s.epoch == 0:
		case f.refused != nil:
			all.Refused++
		case f.granted == s.epoch:
			all.Granted++
		default:
			all.Pending++
		}
	}
	return all
}

// note tells the link that there may be something to do. mu is held.
func (s *filters) note() {
	if s.noted != nil {
		s.noted()
	}
}

// quiet has the link called no more.
func (s *filters) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = nil
}

// up begins a link, on which nothing is granted yet but what needs no asking. Where the platform has kept the session, it has kept
// the filters that nobody wants any more, too: they stay to be unsubscribed. What has changed until now is for the link to look at;
// noted is called for what does from now on, until quiet.
func (s *filters) up(session, auto bool, noted func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links++
	s.epoch, s.auto, s.noted = s.links, auto, noted
	for name, f := range s.wanted {
		f.sent, f.refused = f.sent && session, nil
		if f.users == 0 && !f.sent {
			delete(s.wanted, name)
		}
	}
	s.changed.ring()
}

func (s *filters) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = 0
	s.changed.ring()
}

// work is what the platform is to be told next: filters to subscribe to, or else to unsubscribe from, as many as go into a packet.
func (s *filters) work() (subscribe, unsubscribe []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := false
	for name, f := range s.wanted {
		switch {
		case f.users == 0:
			unsubscribe = append(unsubscribe, name)
		case f.granted == s.epoch || f.refused != nil:
		case s.auto && s.free(name):
			f.granted, told = s.epoch, true
		default:
			subscribe = append(subscribe, name)
		}
	}
	if told {
		s.changed.ring()
	}
	slices.Sort(subscribe)
	return subscribe[:min(len(subscribe), platform.MaxFiltersPerSubscribe)], unsubscribe[:min(len(unsubscribe), platform.MaxFiltersPerSubscribe)]
}

// answered notes what the platform said to a SUBSCRIBE, and returns the filters that it refused.
func (s *filters) answered(names []string, codes []byte) (refused []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		f := s.wanted[name]
		if f == nil { // nobody wants it any more; the platform does not know that
			f = &filter{}
			s.wanted[name] = f
			s.note()
		}
		if codes[i] > 1 && f.users == 0 {
			delete(s.wanted, name)
			continue
		}
		if codes[i] > 1 { // 0x80, or a QoS that the platform does not have
			f.refused = fmt.Errorf("%w: %q", ErrFilterRefused, name)
			refused = append(refused, name)
			continue
		}
		f.granted, f.sent = s.epoch, true
	}
	s.changed.ring()
	return refused
}

// gone notes that the platform was told of the end of filters. One that is wanted again meanwhile must be asked for anew.
func (s *filters) gone(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		f := s.wanted[name]
		if f.users == 0 {
			delete(s.wanted, name)
		} else {
			f.granted, f.sent = 0, false
			s.note()
		}
	}
}

// subackTimeout is how long the platform may take to answer a SUBSCRIBE or UNSUBSCRIBE.
const subackTimeout = 20 * time.Second

// subscribe makes the platform agree with the filters, once: what is wanted before the first message is sent.
func (k *Keeper) subscribe(ctx context.Context, l link) error {
	ctx, cancel := context.WithTimeout(ctx, subackTimeout)
	defer cancel()
	for {
		add, drop := k.filters.work()
		switch {
		case len(add) > 0:
			codes, err := l.Subscribe(ctx, add)
			if err != nil {
				return err
			}
			for _, name := range k.filters.answered(add, codes) {
				k.change(event.SubscriptionRefused{Filter: name}, func(*event.Status) {})
			}
		case len(drop) > 0:
			if err := l.Unsubscribe(ctx, drop); err != nil {
				return err
			}
			k.filters.gone(drop)
		default:
			return nil
		}
	}
}

// keepSubscribed does so for each note that the filters have changed; stands is called each time that the platform agrees.
func (k *Keeper) keepSubscribed(ctx context.Context, l link, next func() []struct{}, stands func()) {
	for notes := next(); len(notes) > 0; notes = next() {
		if isOver(ctx, l) {
			continue // what is to be asked, the next link will ask
		}
		if err := k.subscribe(ctx, l); err != nil {
			k.unanswered(ctx, l, err)
			continue
		}
		stands()
	}
}

func isOver(ctx context.Context, l link) bool { return ctx.Err() != nil || isDone(l) }

// unanswered ends a link on which a SUBSCRIBE was not answered: what it had asked for would be missed in silence.
func (k *Keeper) unanswered(ctx context.Context, l link, err error) {
	if ctx.Err() == nil {
		l.Abort(&Failure{Cause: event.CauseAckTimeout, Err: err, Detail: fmt.Sprintf("a SUBSCRIBE was not answered: %v", err)})
	}
}
