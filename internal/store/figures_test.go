package store

import (
	"sync"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

func TestFiguresTellOfTheJournalAndOfSyncs(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir, KeepEvents(3, 0))
	fresh := db.Figures()
	if fresh.Events != 0 || fresh.LastSequence != 0 || fresh.Bytes == 0 {
		t.Errorf("an empty database has %+v", fresh)
	}
	if err := db.AppendEvents(7, records(7, 5)); err != nil {
		t.Fatal(err)
	}
	if err := db.ChangeQueue(put("q", 1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	f := db.Figures()
	if f.Events != 3 || f.OldestSequence != 9 || f.LastSequence != 11 || f.EventBytes == 0 {
		t.Errorf("the journal has %+v", f)
	}
	if f.SyncSeconds.Count != fresh.SyncSeconds.Count+2 || f.SyncSeconds.Sum <= fresh.SyncSeconds.Sum || f.SyncChanges.Count != 1 || f.SyncChanges.Sum != 3 {
		t.Errorf("syncs %+v, %+v", f.SyncSeconds, f.SyncChanges)
	}
	if err := db.AppendEvents(1, records(1, 1)); err == nil {
		t.Error("an old sequence was taken")
	}
	if got := db.Figures(); got.Failures != 1 || got.SyncSeconds.Count != f.SyncSeconds.Count || got.LastSequence != 11 {
		t.Errorf("after a failure: %+v", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, dir).Figures(); again.Events != 3 || again.OldestSequence != 9 || again.LastSequence != 11 {
		t.Errorf("after a restart: %+v", again)
	}
}

// TestFiguresDoNotWaitForTheDisk: they are looked at when it hangs.
func TestFiguresDoNotWaitForTheDisk(t *testing.T) {
	db := open(t, stateDir(t))
	db.mu.Lock() // as a sync that does not end does
	defer db.mu.Unlock()
	if f := db.Figures(); f.Bytes == 0 {
		t.Errorf("figures %+v", f)
	}
}

func TestChangesThatShareASyncAreCountedAsOne(t *testing.T) {
	db := open(t, stateDir(t))
	var all sync.WaitGroup
	const callers = 20
	db.mu.Lock() // until all have asked
	for i := range callers {
		all.Go(func() {
			if err := db.ChangeQueue([]message.Change{{Queue: "q", Sequence: uint64(i + 1), Record: []byte("x")}}); err != nil {
				t.Error(err)
			}
		})
	}
	for asked := 0; asked < callers; {
		db.joining.mu.Lock()
		asked = len(db.joining.jobs)
		db.joining.mu.Unlock()
	}
	db.mu.Unlock()
	all.Wait()
	if f := db.Figures().SyncChanges; f.Count != 1 || f.Sum != callers {
		t.Errorf("syncs %+v", f)
	}
}
