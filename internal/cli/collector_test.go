package cli

import (
	"runtime/debug"
	"testing"
)

func TestTheCollectorRestsWhileThereIsACrowd(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, c := range []struct{ asked, crowded int }{{100, 200}, {50, 100}, {-1, -1}, {0, 0}} {
		var collector collector
		debug.SetGCPercent(c.asked)
		collector.crowd(true)
		if now := debug.SetGCPercent(c.crowded); now != c.crowded {
			t.Errorf("of %d it made %d, want %d", c.asked, now, c.crowded)
		}
		collector.crowd(false)
		if now := debug.SetGCPercent(100); now != c.asked {
			t.Errorf("%d came back as %d", c.asked, now)
		}
	}
}
