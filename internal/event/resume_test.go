package event

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestResumesFromMemory(t *testing.T) {
	l, _ := run(t, newMemory())
	tell(l, "d1", 1, 10)
	untilShown(t, l, 10)
	r := l.Open(Selection{After: &Cursor{"e0", 4}})
	if body, at := takeBody[Snapshot](t, r); body.Statuses[0].Attempt != 10 || at != (Cursor{"e0", 4}) {
		t.Errorf("got %+v at %v", body, at)
	}
	if at := takeAttempts(t, r, 5, 10); at != (Cursor{"e0", 10}) {
		t.Errorf("got %v", at)
	}
	takeNothing(t, r)
}

func TestResumesFromTheJournalWhatMemoryHasLost(t *testing.T) {
	l, _ := run(t, openStore(t, filepath.Join(t.TempDir(), "state")))
	const events = 3*ringSize + 17
	for from := 1; from <= events; from += ringSize {
		tell(l, "d1", from, min(events, from+ringSize-1))
		untilShown(t, l, uint64(min(events, from+ringSize-1)))
	}
	r := l.Open(Selection{After: &Cursor{l.journal.Epoch(), 3}})
	takeBody[Snapshot](t, r)
	takeAttempts(t, r, 4, events)
	takeNothing(t, r)
}

func TestResumesOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	db := openStore(t, dir)
	l, stop := run(t, db)
	tell(l, "d1", 1, 5)
	r := l.Open(Selection{})
	var at Cursor
	for at.Sequence < 3 {
		at = take(t, r).Cursor
	}
	stop()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	again, _ := run(t, openStore(t, dir))
	tell(again, "d1", 6, 8)
	untilShown(t, again, 8)
	r = again.Open(Selection{After: &at})
	takeBody[Snapshot](t, r)
	takeAttempts(t, r, 4, 8)
	takeNothing(t, r)
}

func TestCursorOfAnotherJournalIsAGapAndThenAllThatThereIs(t *testing.T) {
	for name, cursor := range map[string]Cursor{
		"unknown epoch": {"e1", 2}, "beyond the head": {"e0", 4}, "no epoch": {"", 0}, "of a crashed sidecar": {"e0-ABCDEFGH", 2},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := run(t, newMemory())
			tell(l, "d1", 1, 3)
			untilShown(t, l, 3)
			r := l.Open(Selection{After: &cursor})
			if _, at := takeBody[Snapshot](t, r); at != cursor {
				t.Errorf("an app that comes back with %v would never be told of the gap", at)
			}
			if gap, at := takeBody[Gap](t, r); gap.Count != 0 || gap.Detail == "" || at != (Cursor{"e0", 0}) {
				t.Errorf("got %+v at %v", gap, at)
			}
			takeAttempts(t, r, 1, 3)
			takeNothing(t, r)
		})
	}
}

func TestTrimmedJournalIsACountedGapAndThenTheState(t *testing.T) {
	db := openStore(t, filepath.Join(t.TempDir(), "state"), store.KeepEvents(100, 0))
	l, stop := run(t, db)
	tell(l, "d1", 1, 1000)
	stop()
	l, _ = run(t, db) // so that nothing is in memory
	l.Know(Status{Device: dev("d1"), Attempt: 1000})
	r := l.Open(Selection{After: &Cursor{db.Epoch(), 10}})
	takeBody[Snapshot](t, r)
	takeGap(t, r, 890)
	takeAttempts(t, r, 901, 1000)
	takeNothing(t, r)
}

func TestRecordsThatCannotBeReadAreAGapAndNotTheEnd(t *testing.T) {
	j := newMemory()
	l, stop := run(t, j)
	tell(l, "d1", 1, 8)
	stop()
	j.records[2] = []byte(`{"device":{"product_key":"a1","device_name":"d"},"kind":999,"body":{"news":1}}`) // of a later version
	j.records[3] = []byte(`not JSON`)
	j.records[6] = []byte(`{"kind":1,"body":"a string"}`)
	l, _ = run(t, j)
	r := l.Open(Selection{After: &Cursor{"e0", 0}})
	takeBody[Snapshot](t, r)
	takeAttempts(t, r, 1, 1)
	takeGap(t, r, 2)
	takeAttempts(t, r, 4, 5)
	takeGap(t, r, 1)
	takeAttempts(t, r, 7, 8)
	takeNothing(t, r)
}

func TestJournalThatCannotBeReadIsAGapAndNotTheEnd(t *testing.T) {
	j := newMemory()
	l, stop := run(t, j)
	tell(l, "d1", 1, 5)
	stop()
	l, _ = run(t, j)
	j.set(func(m *memory) { m.broken = errors.New("input/output error") })
	tell(l, "d1", 6, 7)
	untilShown(t, l, 7)
	r := l.Open(Selection{After: &Cursor{"e0", 2}})
	takeBody[Snapshot](t, r)
	takeGap(t, r, 3)
	takeAttempts(t, r, 6, 7)
	takeNothing(t, r)
}

func TestReaderSeesNothingThatIsWrittenAndNotYetShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newMemory()
		l, stop := run(t, j)
		tell(l, "d1", 1, 10)
		stop()
		l, _ = run(t, j) // memory is empty: the reader is served from the journal
		gate := make(chan struct{})
		j.set(func(m *memory) { m.after = gate })
		tell(l, "d1", 11, 15)
		synctest.Wait() // now they are in the journal, and the journal has not yet said so
		r := l.Open(Selection{After: &Cursor{"e0", 0}})
		takeBody[Snapshot](t, r)
		takeAttempts(t, r, 1, 10)
		takeNothing(t, r)
		close(gate)
		takeAttempts(t, r, 11, 15)
		takeNothing(t, r)
	})
}
