package measure

import (
	"math"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAValueIsInTheBucketThatItDoesNotExceed(t *testing.T) {
	h := New(1, 10, 100)
	for _, v := range []float64{0, 1, 1.5, 10, 99, 1000} {
		h.Observe(v)
	}
	want := Snapshot{Count: 6, Sum: 1111.5, Buckets: map[float64]uint64{1: 2, 10: 4, 100: 5}}
	if got := h.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestTimeIsCountedInSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(1, 60)
		start := time.Now()
		time.Sleep(30 * time.Second)
		h.Since(start)
		h.Since(start.Add(time.Hour).Round(0)) // the clock was set back
		h.Since(time.Time{})
		want := Snapshot{Count: 2, Sum: 30, Buckets: map[float64]uint64{1: 1, 60: 2}}
		if got := h.Snapshot(); !reflect.DeepEqual(got, want) {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

func TestManyMayCountAtOnce(t *testing.T) {
	h := New(0.5)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				h.Observe(0.25)
				h.Observe(1)
			}
		})
	}
	all.Wait()
	if got := h.Snapshot(); got.Count != 16000 || got.Buckets[0.5] != 8000 || math.Abs(got.Sum-10000) > 1e-6 {
		t.Errorf("counted %+v", got)
	}
}

func TestAnObservationAllocatesNothing(t *testing.T) {
	h, start := New(.001, .01, .1, 1, 10), time.Now()
	if n := testing.AllocsPerRun(100, func() { h.Since(start) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoHistogramCountsNothing(t *testing.T) {
	var h *Histogram
	h.Observe(1)
	h.Since(time.Now())
	if got := h.Snapshot(); got.Count != 0 {
		t.Errorf("counted %+v", got)
	}
}
