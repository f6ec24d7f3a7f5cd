package event

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSnapshotComesFirstAndFitsItsPlaceInTheLog(t *testing.T) {
	l, _ := run(t, newMemory())
	const devices, events, readers = 4, 500, 24
	last := map[string]int{}
	var publishers, reading sync.WaitGroup
	for d := range devices {
		name := fmt.Sprint("d", d)
		last[name] = events
		publishers.Go(func() { tell(l, name, 1, events) })
	}
	for range readers {
		reading.Go(func() {
			r := l.Open(Selection{})
			seen := map[string]int{}
			first, err := r.Take(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			for _, s := range first.Event.Body.(Snapshot).Statuses {
				seen[s.Device.DeviceName] = s.Attempt
			}
			for done := 0; done < devices; {
				done = 0
				for name := range last {
					if seen[name] == events {
						done++
					}
				}
				if done == devices {
					return
				}
				e, err := r.Take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				name := e.Event.Device.DeviceName
				if n := e.Event.Body.(Attempting).Attempt; n != seen[name]+1 {
					t.Errorf("%s: attempt %d after %d", name, n, seen[name])
					return
				}
				seen[name]++
			}
		})
	}
	publishers.Wait()
	reading.Wait()
}

func TestSnapshotOfManyDevicesComesInParts(t *testing.T) {
	l, _ := run(t, newMemory())
	for n := range 2*snapshotPart + 200 {
		l.Know(Status{Device: dev(fmt.Sprintf("d%05d", n)), State: Idle})
	}
	r := l.Open(Selection{})
	next := 0
	for part, want := range []int{snapshotPart, snapshotPart, 200} {
		body, _ := takeBody[Snapshot](t, r)
		if len(body.Statuses) != want || body.More != (part < 2) {
			t.Fatalf("part %d has %d devices, more %v", part, len(body.Statuses), body.More)
		}
		for _, s := range body.Statuses {
			if want := fmt.Sprintf("d%05d", next); s.Device.DeviceName != want {
				t.Fatalf("got %s where %s was due", s.Device.DeviceName, want)
			}
			next++
		}
	}
	takeNothing(t, r)
}

func TestSnapshotOfNoDeviceIsToldAllTheSame(t *testing.T) {
	l, _ := run(t, newMemory())
	body, _ := takeBody[Snapshot](t, l.Open(Selection{}))
	if len(body.Statuses) != 0 || body.More {
		t.Errorf("got %+v", body)
	}
}

func TestForgottenDeviceLeavesTheSnapshot(t *testing.T) {
	l, _ := run(t, newMemory())
	tell(l, "d1", 1, 1)
	tell(l, "d2", 1, 1)
	l.Publish(Forgotten{}, Status{Device: dev("d1")})
	untilShown(t, l, 3)
	body, _ := takeBody[Snapshot](t, l.Open(Selection{}))
	if len(body.Statuses) != 1 || body.Statuses[0].Device != dev("d2") {
		t.Errorf("got %+v", body.Statuses)
	}
}

func TestReaderWaitsForWhatHappensNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := run(t, newMemory())
		r := l.Open(Selection{})
		takeBody[Snapshot](t, r)
		taken := make(chan Entry, 1)
		go func() {
			e, _ := r.Take(t.Context())
			taken <- e
		}()
		synctest.Wait()
		select {
		case e := <-taken:
			t.Fatalf("took %+v before anything had happened", e)
		default:
		}
		tell(l, "d1", 1, 1)
		if e := <-taken; e.Event.Sequence != 1 || e.Event.Device != dev("d1") || !e.Event.Time.Equal(time.Now()) {
			t.Errorf("got %+v", e)
		}
	})
}

func TestReaderEndsWithItsContext(t *testing.T) {
	l, _ := run(t, newMemory())
	r := l.Open(Selection{})
	takeBody[Snapshot](t, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCloseReadersEndsThoseThatWaitAndThoseThatCome(t *testing.T) {
	l, _ := run(t, newMemory())
	var waiting sync.WaitGroup
	for range 10 {
		r := l.Open(Selection{})
		takeBody[Snapshot](t, r)
		waiting.Go(func() {
			if _, err := r.Take(context.Background()); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
	l.CloseReaders()
	l.CloseReaders()
	waiting.Wait()
	late := l.Open(Selection{})
	takeBody[Snapshot](t, late)
	if _, err := late.Take(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	tell(l, "d1", 1, 1) // the log itself goes on: what happens while the sidecar stops is written down
	untilShown(t, l, 1)
}

func TestRunStoresWhatWasPublishedBeforeItsEnd(t *testing.T) {
	j := newMemory()
	l, stop := run(t, j)
	tell(l, "d1", 1, 1000)
	stop()
	if last, _ := j.LastSequence(); last != 1000 {
		t.Errorf("the journal ends with %d", last)
	}
}

func TestStoppedReaderDelaysNobodyAndIsToldWhatItMissed(t *testing.T) {
	const readers, chunk, chunks, keep = 199, 500, 10, 2000
	j := newMemory()
	j.keep = keep
	l, _ := run(t, j)
	stopped := l.Open(Selection{})
	takeBody[Snapshot](t, stopped)

	var caughtUp, reading sync.WaitGroup
	turns := make([]chan struct{}, readers)
	for i := range turns {
		turns[i] = make(chan struct{}, 1)
		r := l.Open(Selection{})
		takeBody[Snapshot](t, r)
		reading.Go(func() {
			n := 0
			for range turns[i] {
				for range chunk {
					n++
					e, err := r.Take(context.Background())
					if body, ok := e.Event.Body.(Attempting); err != nil || !ok || body.Attempt != n {
						t.Errorf("reader %d: got %+v, error %v, where event %d was due", i, e, err, n)
						break
					}
				}
				caughtUp.Done()
			}
		})
	}
	for c := range chunks {
		caughtUp.Add(readers)
		tell(l, "d1", c*chunk+1, (c+1)*chunk)
		for _, turn := range turns {
			turn <- struct{}{}
		}
		caughtUp.Wait()
	}
	for _, turn := range turns {
		close(turn)
	}
	reading.Wait()

	takeGap(t, stopped, chunk*chunks-keep)
	takeAttempts(t, stopped, chunk*chunks-keep+1, chunk*chunks)
	takeNothing(t, stopped)
}

func TestEventsThatFollowEachOtherShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, j := make(chan struct{}), newMemory()
		j.before = gate
		l, stop := run(t, j)
		stored := func(want uint64, when string) {
			t.Helper()
			synctest.Wait()
			if last, _ := j.LastSequence(); last != want {
				t.Errorf("%s the journal ends with %d, want %d", when, last, want)
			}
		}
		tell(l, "d1", 1, 1)
		synctest.Wait() // the disk hangs with the first
		tell(l, "d1", 2, 2+few)
		close(gate)
		stored(2+few, "after a batch")
		for n := 3 + few; n <= 5+few; n++ {
			tell(l, "d1", n, n)
			stored(2+few, "while more may follow")
		}
		time.Sleep(gatherFor)
		stored(5+few, "after a while")
		tell(l, "d1", 6+few, 6+few)
		stored(6+few, "when few had followed")
		tell(l, "d1", 7+few, 8+2*few)
		tell(l, "d1", 9+2*few, 9+2*few)
		stop() // ends no wait by losing what waits
		stored(9+2*few, "at the end")
	})
}
