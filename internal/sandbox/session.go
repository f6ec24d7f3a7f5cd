package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const (
	// maxQueued and maxQueuedBytes bound the messages that wait for one device. The platform names no such limits; without them
	// a device that never comes back would fill the memory.
	maxQueued      = 10_000
	maxQueuedBytes = 64 << 20
	// storeTime is how long the platform keeps a message of QoS 1 for a device that does not take it.
	storeTime = 7 * 24 * time.Hour
)

// session is what the platform keeps of a device for as long as MQTT says: its subscriptions, and its messages of QoS 1. It ends
// with the connection, unless it lasts: then the next login that wants it takes it over.
//
// Its lock may be taken under all others of this package, and none is taken under it.
type session struct {
	id device.ID

	mu            sync.Mutex
	lasts         bool                // the login said clean_session=false
	link          *link               // that serves it; nil while the device is offline
	autoSubscribe bool                // the newest login said _ss=1
	subscribed    map[string]struct{} // filters
	declined      map[string]struct{} // filters of automatic subscriptions that the device took back

	lastID  uint16
	unacked []*outgoing // those that were sent first come first; at most platform.MaxUnacknowledged
	queue   []*outgoing // oldest first
	queued  int         // bytes of the payloads in queue
}

// outgoing is a message of QoS 1 for a device, from when the platform takes it until the device acknowledges it. Its fields
// belong to the session's lock.
type outgoing struct {
	message
	stored  time.Time
	again   bool // it was sent over an earlier connection, and is to be sent over this one
	written bool // it has left over some connection
}

func newSession(id device.ID) *session {
	return &session{id: id, subscribed: map[string]struct{}{}, declined: map[string]struct{}{}}
}

// attach makes l the link that serves the session. What was not acknowledged over an earlier link is to be sent again.
func (s *session) attach(l *link, lasts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.lasts, s.autoSubscribe = l, lasts, l.autoSubscribe
	for _, o := range s.unacked {
		o.again = true
	}
	s.expire()
}

// detach leaves the session without a link. It reports whether the session lasts.
func (s *session) detach() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = nil
	return s.lasts
}

// discard ends the session: nothing is delivered by it any more.
func (s *session) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.lasts, s.unacked, s.queue = nil, false, nil, nil
}

// lasting reports whether the session outlives its link.
func (s *session) lasting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lasts
}

// errTakenOver is what becomes of what a device asked for over a link that is no longer the session's.
var errTakenOver = errors.New("a newer login took the session over")

// subscribe adds a filter on behalf of l.
func (s *session) subscribe(l *link, filter string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return errTakenOver
	}
	if _, already := s.subscribed[filter]; !already && len(s.subscribed) >= platform.MaxSubscriptions {
		return fmt.Errorf("the device subscribes to %d filters already", platform.MaxSubscriptions)
	}
	s.subscribed[filter] = struct{}{}
	delete(s.declined, filter)
	return nil
}

// unsubscribe takes filters away on behalf of l. An automatic subscription ends so, too.
func (s *session) unsubscribe(l *link, filters []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	for _, filter := range filters {
		delete(s.subscribed, filter)
		if s.autoSubscribe && len(s.declined) < platform.MaxSubscriptions {
			s.declined[filter] = struct{}{}
		}
	}
}

// wants reports whether messages on the topic reach the device. s.mu must be held.
func (s *session) wants(topic string) bool {
	return platform.AlwaysPushed(s.id, topic) || matchAny(s.subscribed, topic) ||
		s.autoSubscribe && platform.AutoSubscribed(s.id, topic) && !matchAny(s.declined, topic)
}

func matchAny(filters map[string]struct{}, topic string) bool {
	for filter := range filters {
		if platform.MatchFilter(filter, topic) {
			return true
		}
	}
	return false
}

// errQueueFull says that a device takes nothing, and has been sent much.
var errQueueFull = errors.New("too many messages wait for the device")

// deliver sends m to the device, with the QoS that m has, if the device wants it. A message of QoS 1 that cannot be sent yet
// waits, as long as there is somebody to wait for.
func (s *session) deliver(m message) (delivery, error) {
	l, o, became, err := s.admit(m)
	switch {
	case err != nil, became != 0:
		return became, err
	case m.qos == 0:
		return l.transmit(m), nil
	case l != nil:
		l.pump()
	}
	return s.fate(o), nil
}

// admit decides about m. Unless it is already known what becomes of it, a message of QoS 0 is for the link, and one of QoS 1
// was queued.
func (s *session) admit(m message) (l *link, o *outgoing, became delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link == nil && (m.qos == 0 || !s.lasts):
		return nil, nil, offline, nil
	case !s.wants(m.topic):
		return nil, nil, notSubscribed, nil
	case m.qos == 0:
		return s.link, nil, 0, nil
	}
	s.expire()
	if len(s.queue) >= maxQueued || s.queued+len(m.payload) > maxQueuedBytes {
		return nil, nil, 0, fmt.Errorf("%w: at most %d, and %d MiB of payload, may", errQueueFull, maxQueued, maxQueuedBytes>>20)
	}
	m.payload = bytes.Clone(m.payload)
	o = &outgoing{message: m, stored: time.Now()}
	s.queue = append(s.queue, o)
	s.queued += len(m.payload)
	return s.link, o, 0, nil
}

// next is the message of QoS 1 that l may send now: first what is to be sent again, then what waits, while not too many are
// ahead of their PUBACKs. The copy is the caller's, the *outgoing is for wrote; nil: there is none.
func (s *session) next(l *link) (message, *outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return message{}, nil
	}
	for _, o := range s.unacked {
		if o.again {
			o.again, o.duplicate = false, true
			return o.message, o
		}
	}
	if !s.mayPump() {
		return message{}, nil
	}
	o := s.queue[0]
	s.drop(1)
	o.message.id = s.nextID()
	s.unacked = append(s.unacked, o)
	return o.message, o
}

// mayPump reports whether next would take something from the queue. s.mu must be held.
func (s *session) mayPump() bool {
	s.expire()
	return len(s.queue) > 0 && len(s.unacked) < platform.MaxUnacknowledged
}

// wrote says that messages which next gave have left.
func (s *session) wrote(gone []*outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range gone {
		o.written = true
	}
}

// acknowledge takes a PUBACK that came over l. It reports whether a message waited for it.
func (s *session) acknowledge(l *link, id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return false
	}
	s.unacked = slices.DeleteFunc(s.unacked, func(o *outgoing) bool { return o.message.id == id })
	return s.mayPump()
}

// fate is what became of a message that was queued, once all that could be sent has been.
func (s *session) fate(o *outgoing) delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := o.message.id == 0 && s.link != nil
	switch {
	case o.written:
		return sent
	case s.lasts, waits:
		return queued
	}
	return offline
}

// expire forgets what was stored for too long. What a connected device has been sent stays: its number is in use. s.mu must be
// held.
func (s *session) expire() {
	now := time.Now()
	old := func(o *outgoing) bool { return now.Sub(o.stored) >= storeTime }
	n := 0
	for n < len(s.queue) && old(s.queue[n]) {
		n++
	}
	s.drop(n)
	s.unacked = slices.DeleteFunc(s.unacked, func(o *outgoing) bool { return (s.link == nil || o.again) && old(o) })
}

// drop takes the first n messages from the queue. s.mu must be held.
func (s *session) drop(n int) {
	for _, o := range s.queue[:n] {
		s.queued -= len(o.payload)
	}
	clear(s.queue[:n])
	s.queue = s.queue[n:]
}

// nextID is a packet identifier that is free. s.mu must be held.
func (s *session) nextID() uint16 {
	for {
		s.lastID++
		taken := slices.ContainsFunc(s.unacked, func(o *outgoing) bool { return o.message.id == s.lastID })
		if s.lastID != 0 && !taken {
			return s.lastID
		}
	}
}

// backlog counts what the device has not acknowledged, and what waits.
func (s *session) backlog() (unacked, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	return len(s.unacked), len(s.queue)
}
