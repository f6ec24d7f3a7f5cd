package server

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what one caller, and one connection, may ask at once. They are generous: they are there to keep a program that
// runs wild from starving the others. In each, 0 is the default.
type Limits struct {
	// RequestsPerSecond of one caller, whose bursts may be as many; Events and other streams count when they begin.
	// Default 5000; negative is no limit.
	RequestsPerSecond float64 `yaml:"requests_per_second"`
	// Streams of one caller that may be open at once. Default 1000; negative is no limit.
	Streams int `yaml:"streams"`
	// CallsPerConnection is how many calls may be under way on one connection; gRPC lets further ones wait. Default 1000.
	CallsPerConnection uint32 `yaml:"calls_per_connection"`
	// MessageBytes of a request. gRPC itself refuses greater ones, before anything of them is looked at. Default 4 MiB.
	MessageBytes int `yaml:"message_bytes"`
}

func (l Limits) withDefaults() Limits {
	if l.RequestsPerSecond == 0 {
		l.RequestsPerSecond = 5000
	}
	if l.Streams == 0 {
		l.Streams = 1000
	}
	if l.CallsPerConnection == 0 {
		l.CallsPerConnection = 1000
	}
	if l.MessageBytes <= 0 {
		l.MessageBytes = 4 << 20
	}
	return l
}

// overLimit says which limit a caller has reached, and when it may come again if that is known.
type overLimit struct {
	caller Caller
	which  refusalKind
	limit  string
	wait   time.Duration
}

func (e *overLimit) Error() string {
	return fmt.Sprintf("%s has reached its limit of %s: ask less often, or raise the limit in the sidecar's configuration", e.caller, e.limit)
}

// meter counts what each caller asks. Callers are users and names of certificates, so few that none is ever forgotten.
type meter struct {
	limits Limits

	mu      sync.Mutex
	callers map[Caller]*usage // by Caller.who
	unknown uint64            // calls of which it is not known who makes them
}

type usage struct {
	requests *rate.Limiter
	streams  int    // under the meter's mu
	label    string // in metrics

	calls    atomic.Uint64 // that were let through
	inFlight atomic.Int64  // of these
	refusals [refusalKinds]atomic.Uint64
}

func newMeter(l Limits) *meter { return &meter{limits: l, callers: map[Caller]*usage{}} }

// usage of a caller. mu is held.
func (m *meter) usage(c Caller) *usage {
	u := m.callers[c.who()]
	if u == nil {
		perSecond := rate.Limit(m.limits.RequestsPerSecond)
		if perSecond < 0 {
			perSecond = rate.Inf
		}
		u = &usage{requests: rate.NewLimiter(perSecond, max(1, int(min(perSecond, 1e9)))), label: otherCallers}
		if len(m.callers) < namedCallers {
			u.label = c.label()
		}
		m.callers[c.who()] = u
	}
	return u
}

// request counts one; the error is an *overLimit.
func (m *meter) request(c Caller) (*usage, error) {
	m.mu.Lock()
	u := m.usage(c)
	m.mu.Unlock()
	r := u.requests.Reserve()
	if wait := r.Delay(); wait > 0 {
		r.Cancel()
		return nil, &overLimit{caller: c, which: tooManyRequests, limit: fmt.Sprintf("%v requests a second", m.limits.RequestsPerSecond), wait: wait}
	}
	return u, nil
}

// begin counts a call that was let through, until the caller calls end.
func (u *usage) begin() {
	u.calls.Add(1)
	u.inFlight.Add(1)
}

func (u *usage) end() { u.inFlight.Add(-1) }

// stream counts one until done is called; the error is an *overLimit.
func (m *meter) stream(c Caller) (done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.usage(c)
	if m.limits.Streams >= 0 && u.streams >= m.limits.Streams {
		return nil, &overLimit{caller: c, which: tooManyStreams, limit: fmt.Sprintf("%d streams at once", m.limits.Streams)}
	}
	u.streams++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		u.streams--
	}, nil
}
