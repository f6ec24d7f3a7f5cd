package cli

import "runtime/debug"

// collector is the garbage collector's pace. While a crowd of devices logs in, the heap grows manifold within a second, and what is
// left of handshakes is most of it: the collector would run at each doubling and look at all stacks each time. It is let run at
// twice the percentage meanwhile, which takes less than a tenth more memory at the peak. A memory limit (GOMEMLIMIT) holds all the same.
type collector struct{ percent int }

// crowd is told when one is there and when it has gone, in turn.
func (c *collector) crowd(here bool) {
	if !here {
		debug.SetGCPercent(c.percent)
		return
	}
	if c.percent = debug.SetGCPercent(100); c.percent <= 0 { // it is off, or never rests
		debug.SetGCPercent(c.percent)
		return
	}
	debug.SetGCPercent(2 * c.percent)
}
