// Package measure has the histogram that hot paths can afford: an observation takes no lock and allocates nothing. Whoever shows the
// figures takes a Snapshot; nothing here knows how they are shown.
package measure

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Histogram counts observations by size. Make one with New; a nil one counts nothing.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // one for each bound, and one for what is above the last
	sum    atomic.Uint64   // the bits of a float64
}

// New makes a histogram whose buckets end at bounds, inclusive, in ascending order.
func New(bounds ...float64) *Histogram {
	return &Histogram{bounds: slices.Clone(bounds), counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one value.
func (h *Histogram) Observe(value float64) {
	if h == nil {
		return
	}
	i, _ := slices.BinarySearch(h.bounds, value)
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+value)) {
			return
		}
	}
}

// Since counts the seconds since a time: 0 when the clock was set back since then. The zero time means that nobody looked at a clock,
// and is not counted.
func (h *Histogram) Since(start time.Time) {
	if h == nil || start.IsZero() {
		return
	}
	h.Observe(max(0, time.Since(start).Seconds()))
}

// Snapshot is what a Histogram has counted so far.
type Snapshot struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // how many were not above a bound
}

// Snapshot may see an observation whose value is not in the sum yet.
func (h *Histogram) Snapshot() Snapshot {
	if h == nil {
		return Snapshot{}
	}
	s := Snapshot{Sum: math.Float64frombits(h.sum.Load()), Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			s.Buckets[h.bounds[i]] = s.Count
		}
	}
	return s
}
