package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// after tells how many were gathered, and after how long.
func after(w *joining) (jobs int, waited time.Duration) {
	began := time.Now()
	return len(w.gather()), time.Since(began)
}

func TestWhoComesAloneWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &joining{}
		for range 3 {
			if !w.join(&job{}) {
				t.Error("who comes first does not lead")
			}
			if n, waited := after(w); n != 1 || waited != 0 {
				t.Errorf("%d were gathered after %s", n, waited)
			}
			w.answered(1, time.Second)
		}
	})
}

func TestThoseWhoComeBackAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &joining{}
		w.join(&job{})
		w.answered(2, 8*time.Millisecond) // and one has come meanwhile
		for range 2 {
			go func() {
				time.Sleep(time.Millisecond)
				if w.join(&job{}) {
					t.Error("two lead")
				}
			}()
		}
		if n, waited := after(w); n != 3 || waited != time.Millisecond {
			t.Errorf("%d were gathered after %s", n, waited)
		}
	})
}

func TestThoseWhoDoNotComeBackAreNotWaitedForLong(t *testing.T) {
	for took, most := range map[time.Duration]time.Duration{time.Microsecond: leastPatience, 4 * time.Millisecond: 2 * time.Millisecond, time.Minute: mostPatience} {
		synctest.Test(t, func(t *testing.T) {
			w := &joining{}
			w.answered(10, took)
			w.join(&job{})
			if n, waited := after(w); n != 1 || waited != most {
				t.Errorf("%d were gathered after %s", n, waited)
			}
			w.answered(1, took)
			w.join(&job{})
			if n, waited := after(w); n != 1 || waited != 0 {
				t.Errorf("then %d were gathered after %s", n, waited)
			}
		})
	}
}
