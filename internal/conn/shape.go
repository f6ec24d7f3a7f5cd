package conn

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Rates bound what one device sends, so that messages wait here instead of being dropped by the platform without a word. 0 is no
// limit. The platform takes platform.MaxPublishesPerSecond messages, and platform.MaxBytesPerSecond.
type Rates struct{ MessagesPerSecond, BytesPerSecond float64 }

// shaper keeps one device's messages to Rates.
type shaper struct {
	messages, bytes *rate.Limiter // nil: no limit
	holding         atomic.Bool   // a message waits
}

func (s *shaper) keepTo(r Rates) {
	if r.MessagesPerSecond > 0 {
		s.messages = rate.NewLimiter(rate.Limit(r.MessagesPerSecond), max(1, int(r.MessagesPerSecond)))
	}
	if r.BytesPerSecond > 0 { // any one message fits into a burst
		s.bytes = rate.NewLimiter(rate.Limit(r.BytesPerSecond), max(int(r.BytesPerSecond), platform.MaxPayloadBytes+platform.MaxTopicBytes))
	}
}

// free reports whether hold never waits.
func (s *shaper) free() bool { return s.messages == nil && s.bytes == nil }

// hold waits until a message of so many bytes may be sent. It reports false, and counts nothing, when ctx ends or done is closed before.
func (s *shaper) hold(ctx context.Context, size int, done <-chan struct{}) bool {
	now := time.Now()
	var reserved []*rate.Reservation
	if s.messages != nil {
		reserved = append(reserved, s.messages.ReserveN(now, 1))
	}
	if s.bytes != nil {
		reserved = append(reserved, s.bytes.ReserveN(now, size))
	}
	wait := time.Duration(0)
	for _, r := range reserved {
		wait = max(wait, r.DelayFrom(now))
	}
	if wait == 0 {
		return true
	}
	s.holding.Store(true)
	defer s.holding.Store(false)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	for _, r := range reserved {
		r.Cancel()
	}
	return false
}
