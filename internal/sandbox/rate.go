package sandbox

import (
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const (
	// maxBytesPerSecond is the platform's limit of a connection's throughput: topics and payloads of what a device publishes.
	maxBytesPerSecond = 1024 << 10
	// rateWarning is how often the log may say of one device that it publishes too much.
	rateWarning = time.Minute
)

// rate counts what a device publishes. It remembers as many messages as may come in a second, so its memory is bounded, and what it
// says is true of any second, not of those of a clock. It belongs to the cloud's lock.
type rate struct {
	recent [platform.MaxPublishesPerSecond]struct {
		at    time.Time
		bytes int
	}
	next   int // where the next message goes, and the oldest is
	warned time.Time
}

// exceeds says which limit another message would break; "" for none.
func (r *rate) exceeds(now time.Time, bytes int) string {
	if now.Sub(r.recent[r.next].at) < time.Second { // one that was never used is long past
		return fmt.Sprintf("more than %d messages in a second", platform.MaxPublishesPerSecond)
	}
	for _, m := range &r.recent {
		if now.Sub(m.at) < time.Second {
			bytes += m.bytes
		}
	}
	if bytes > maxBytesPerSecond {
		return fmt.Sprintf("more than %d bytes in a second", maxBytesPerSecond)
	}
	return ""
}

// count remembers a message.
func (r *rate) count(now time.Time, bytes int) {
	r.recent[r.next].at, r.recent[r.next].bytes = now, bytes
	r.next = (r.next + 1) % len(r.recent)
}

// mayWarn reports whether it is time for a warning, and that it is given.
func (r *rate) mayWarn(now time.Time) bool {
	if now.Sub(r.warned) < rateWarning {
		return false
	}
	r.warned = now
	return true
}
