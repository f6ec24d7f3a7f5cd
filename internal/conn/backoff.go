package conn

import (
	"math/rand/v2"
	"time"
)

// steady is how long a link must hold before the next loss counts as the first again. Without it a server that accepts and closes
// at once would be dialled at the lower bound for ever.
const steady = 30 * time.Second

// backoff draws the waits between attempts. The zero ceiling is that of a link that held.
type backoff struct {
	min, max time.Duration
	ceiling  time.Duration // of the next wait, as far as max permits
}

// next is the wait after one more failure: anywhere between the lower bound and a ceiling, up to the upper bound. The ceiling rises
// with the waits themselves, not with their number. Devices that failed together then not only wait for different times but
// also draw the next wait from different ranges, and already the second wave is thin. It never falls, so that a long outage is
// not asked about in bursts.
func (b *backoff) next() time.Duration { return b.draw(rand.N[time.Duration]) }

// draw is next with a source of numbers below n.
func (b *backoff) draw(below func(n time.Duration) time.Duration) time.Duration {
	if b.ceiling == 0 {
		b.ceiling = 3 * b.min // a device that lost its link alone is back within two seconds, mostly
	}
	wait := b.min
	if ceiling := min(b.ceiling, b.max); ceiling > b.min {
		wait += below(ceiling - b.min + 1)
	}
	b.ceiling = max(b.ceiling, wait*7/2)
	return wait
}

// held resets the wait if the link was up for long enough.
func (b *backoff) held(d time.Duration) {
	if d >= steady {
		b.ceiling = 0
	}
}

// between draws evenly from low to high.
func between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + rand.N(high-low+1) //nolint:gosec // nobody gains by guessing when a device comes back
}
