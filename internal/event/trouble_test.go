package event

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

var errFull = errors.New("no space left on device")

func TestJournalThatCannotBeWrittenStopsNobody(t *testing.T) {
	j := newMemory()
	l, stop := run(t, j)
	r := l.Open(Selection{})
	takeBody[Snapshot](t, r)
	tell(l, "d1", 1, 3)
	if at := takeAttempts(t, r, 1, 3); at != (Cursor{"e0", 3}) {
		t.Fatalf("got %v", at)
	}
	j.set(func(m *memory) { m.broken = errFull })
	tell(l, "d1", 4, 5)
	at := takeAttempts(t, r, 4, 5)
	if at.Epoch == "e0" || !strings.HasPrefix(at.Epoch, "e0-") || at.Sequence != 5 {
		t.Fatalf("after a restart %v would stand for another event", at)
	}
	within := l.Open(Selection{After: &Cursor{at.Epoch, 4}}) // the same process does know it
	takeBody[Snapshot](t, within)
	takeAttempts(t, within, 5, 5)
	j.set(func(m *memory) { m.broken = nil })
	stop()

	l, _ = run(t, j)
	tell(l, "d1", 104, 107) // they get the numbers 4 to 7
	untilShown(t, l, 7)
	r = l.Open(Selection{After: &at})
	takeBody[Snapshot](t, r)
	if gap, _ := takeBody[Gap](t, r); gap.Count != 0 {
		t.Errorf("got %+v", gap)
	}
	takeAttempts(t, r, 1, 3)
	takeAttempts(t, r, 104, 107)
}

func TestJournalThatIsWrittenAgainMakesCursorsDurableAgain(t *testing.T) {
	j := newMemory()
	l, stop := run(t, j)
	r := l.Open(Selection{})
	takeBody[Snapshot](t, r)
	tell(l, "d1", 1, 3)
	takeAttempts(t, r, 1, 3)
	j.set(func(m *memory) { m.broken = errFull })
	tell(l, "d1", 4, 5)
	stray := takeAttempts(t, r, 4, 5)
	j.set(func(m *memory) { m.broken = nil })
	tell(l, "d1", 6, 6)
	durable := takeAttempts(t, r, 6, 6)
	if durable != (Cursor{"e0", 6}) {
		t.Fatalf("got %v", durable)
	}
	within := l.Open(Selection{After: &stray})
	takeBody[Snapshot](t, within)
	takeAttempts(t, within, 6, 6)
	stop()

	l, _ = run(t, j)
	tell(l, "d1", 7, 7)
	untilShown(t, l, 7)
	r = l.Open(Selection{After: &durable})
	takeBody[Snapshot](t, r)
	takeAttempts(t, r, 7, 7)
	takeNothing(t, r)

	r = l.Open(Selection{After: &Cursor{"e0", 3}}) // 4 and 5 never were on disk
	takeBody[Snapshot](t, r)
	takeGap(t, r, 2)
	takeAttempts(t, r, 6, 7)
	takeNothing(t, r)
}

func TestEventsThatOnlyMemoryHasAreNotSkippedForLaterOnesOfTheJournal(t *testing.T) {
	j := newMemory()
	l, _ := run(t, j)
	tell(l, "d1", 1, 200)
	untilShown(t, l, 200)
	j.set(func(m *memory) { m.broken = errFull })
	tell(l, "d1", 201, 1000)
	untilShown(t, l, 1000)
	j.set(func(m *memory) { m.broken = nil })
	tell(l, "d1", 1001, 1300)
	untilShown(t, l, 1300)
	r := l.Open(Selection{After: &Cursor{"e0", 100}})
	takeBody[Snapshot](t, r)
	takeAttempts(t, r, 101, 200)              // from the journal
	takeGap(t, r, 1300-ringSize-200)          // neither has them
	takeAttempts(t, r, 1300-ringSize+1, 1300) // from memory, which has 277 to 1000 alone
	takeNothing(t, r)
}

func TestFloodWhileTheDiskHangsIsBoundedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const over = 100
		j := newMemory()
		l, stop := run(t, j)
		r := l.Open(Selection{})
		takeBody[Snapshot](t, r)
		gate := make(chan struct{})
		j.set(func(m *memory) { m.before = gate })
		tell(l, "d1", 1, 1)
		synctest.Wait() // the disk hangs with the first event
		tell(l, "d1", 2, maxPending+1)
		tell(l, "d1", maxPending+2, maxPending+over)
		l.Publish(Forgotten{}, Status{Device: dev("d2")})
		synctest.Wait()
		takeNothing(t, r)
		l.mu.Lock()
		if len(l.pending) != maxPending || len(l.overflow) != 2 {
			t.Errorf("%d events and %d states wait", len(l.pending), len(l.overflow))
		}
		l.mu.Unlock()
		close(gate)

		takeAttempts(t, r, 1, maxPending+1)
		gap, at := takeBody[Gap](t, r)
		if gap.Count != over || at.Epoch == "e0" {
			t.Errorf("got %+v at %v: after a restart its number would be another event's", gap, at)
		}
		if body, _ := takeBody[Snapshot](t, r); len(body.Statuses) != 1 || body.Statuses[0].Attempt != maxPending+over {
			t.Errorf("the state after the gap is %+v", body.Statuses)
		}
		tell(l, "d1", maxPending+over+1, maxPending+over+3)
		if at := takeAttempts(t, r, maxPending+over+1, maxPending+over+3); at.Epoch != "e0" {
			t.Errorf("the journal has come as far as %v and the epoch is still a stray one", at)
		}
		takeNothing(t, r)
		stop()

		l, _ = run(t, j)
		r = l.Open(Selection{After: &Cursor{"e0", maxPending}})
		takeBody[Snapshot](t, r)
		takeAttempts(t, r, maxPending+1, maxPending+1)
		takeGap(t, r, over)
		takeAttempts(t, r, maxPending+over+1, maxPending+over+3)
		takeNothing(t, r)
	})
}
