package conn

import (
	"math/rand/v2"
	"time"
)

// steady is how long a link must hold before the next loss counts as the first again. Without it a server that accepts and closes
// at once would be dialled at the lower bound for ever.
const steady = 30 * time.Second

// backoff draws the waits between attempts.
type backoff struct {
	min, max time.Duration
	failures int // in a row
}

// next is the wait after one more failure: anywhere between the lower bound and a ceiling that doubles with each failure, up to
// the upper bound. The whole width is drawn from, so that devices that failed together do not come back together.
func (b *backoff) next() time.Duration {
	b.failures++
	ceiling := b.max
	if shift := min(b.failures, 32); b.min < b.max>>shift { // the shift of a bound that may overflow is never taken
		ceiling = b.min << shift
	}
	return between(b.min, ceiling)
}

// held resets the wait if the link was up for long enough.
func (b *backoff) held(d time.Duration) {
	if d >= steady {
		b.failures = 0
	}
}

// between draws evenly from low to high.
func between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + rand.N(high-low+1) //nolint:gosec // nobody gains by guessing when a device comes back
}
