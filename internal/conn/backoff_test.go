package conn

import (
	"math/rand/v2"
	"testing"
	"time"
)

// seeded is a source of numbers that are the same in every run.
func seeded(seed uint64) func(time.Duration) time.Duration {
	source := rand.New(rand.NewPCG(seed, seed))
	return func(n time.Duration) time.Duration { return time.Duration(source.Int64N(int64(n))) }
}

// A broker goes away for half a minute. All devices notice at once, so their first attempts come together; after those no second may
// have more than one in twenty of all attempts.
func TestDevicesThatFailTogetherDoNotComeBackTogether(t *testing.T) {
	const devices, away = 1000, 30 * time.Second
	for seed := range uint64(10) {
		below, attempts, all, busiest := seeded(seed), map[time.Duration]int{}, 0, 0
		for range devices {
			b := backoff{min: time.Second, max: time.Minute}
			at := b.draw(below)
			for all++; at < away; all++ {
				at += b.draw(below)
				second := at.Truncate(time.Second)
				attempts[second]++
				busiest = max(busiest, attempts[second])
			}
			if at > away+time.Minute {
				t.Errorf("seed %d: a device came back %v after the broker", seed, at-away)
			}
		}
		if percent := 100 * float64(busiest) / float64(all); percent > 5 {
			t.Errorf("seed %d: the busiest second has %.1f %% of %d attempts", seed, percent, all)
		}
	}
}

// The waits of one device keep to the bounds. In a long outage they come to be drawn from all that is between them, for good.
func TestWaitsKeepToTheBounds(t *testing.T) {
	for _, bounds := range [][2]time.Duration{
		{time.Second, time.Minute}, {time.Second, time.Second}, {time.Second, 2 * time.Second}, {10 * time.Second, time.Minute}, {2 * time.Hour, 2 * time.Hour},
	} {
		b, below := backoff{min: bounds[0], max: bounds[1]}, seeded(1)
		first := b.draw(below)
		if first < b.min || first > min(3*b.min, b.max) {
			t.Errorf("bounds %v: the first wait is %v", bounds, first)
		}
		for range 100 {
			before := b.ceiling
			if wait := b.draw(below); wait < b.min || wait > min(before, b.max) || b.ceiling < before {
				t.Errorf("bounds %v: a wait of %v, below %v, then below %v", bounds, wait, before, b.ceiling)
			}
		}
		if b.ceiling < b.max {
			t.Errorf("bounds %v: after 100 failures the waits end at %v", bounds, b.ceiling)
		}
		b.held(steady - 1)
		if b.ceiling < b.max {
			t.Errorf("bounds %v: a link that did not hold reset the waits", bounds)
		}
		b.held(steady)
		if again := b.draw(below); again > min(3*b.min, b.max) {
			t.Errorf("bounds %v: after a link that held the wait is %v", bounds, again)
		}
	}
}
