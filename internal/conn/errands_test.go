package conn

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestErrandsAreRunInTheirOrderByOneGoroutineThatLeaves counts its lives: it stays for a while when there is nothing to do, and comes
// again.
func TestErrandsAreRunInTheirOrderByOneGoroutineThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var run []int
		lives := 0
		e := &errands[int]{}
		e.run = func(next func() []int) {
			lives++
			for some := next(); len(some) > 0; some = next() {
				run = append(run, some...)
			}
		}
		e.add(1)
		synctest.Wait()
		e.add(2)
		e.add(3)
		synctest.Wait()
		e.add(4)
		if lives != 1 {
			t.Errorf("%d lives", lives)
		}
		time.Sleep(2 * lingering)
		synctest.Wait()
		if e.there {
			t.Error("it stays although there is nothing to do")
		}
		e.add(5)
		e.finish()
		if want := []int{1, 2, 3, 4, 5}; !slices.Equal(run, want) || lives != 2 {
			t.Errorf("%v were run in %d lives", run, lives)
		}
	})
}

func TestErrandsThatNobodyHasAreFinished(t *testing.T) {
	synctest.Test(t, func(*testing.T) { // which fails when this hangs, or leaves a goroutine
		(&errands[int]{}).finish()
	})
}
