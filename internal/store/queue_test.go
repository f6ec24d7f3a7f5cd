package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

func put(queue string, sequences ...uint64) (changes []message.Change) {
	for _, s := range sequences {
		changes = append(changes, message.Change{Queue: queue, Sequence: s, Record: fmt.Append(nil, queue, s)})
	}
	return changes
}

func numbers(t *testing.T, db *DB, queue string) (all []uint64) {
	t.Helper()
	if err := db.ScanQueue(queue, func(sequence uint64, record []byte) error {
		if want := fmt.Append(nil, queue, sequence); !slices.Equal(record, want) {
			t.Errorf("record %d is %q", sequence, record)
		}
		all = append(all, sequence)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestQueuesOutliveTheProcess(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir)
	taken := message.Change{Queue: "a/x/", Sequence: 300}
	for _, changes := range [][]message.Change{put("a/x/", 1, 300, 2), put("a/y/", 7), put("b/", 1), {taken}, {{Queue: "b/", Sequence: 1}}, {{Queue: "never/", Sequence: 1}}} {
		if err := db.ChangeQueue(changes); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir)
	if got := numbers(t, db, "a/x/"); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("a/x/ has %v", got)
	}
	records, err := db.ReadQueue("a/x/", []uint64{2, 300, 1})
	if err != nil || !bytes.Equal(records[0], fmt.Append(nil, "a/x/", 2)) || records[1] != nil || records[2] == nil {
		t.Errorf("read %q, %v", records, err)
	}
	if names, err := db.ListQueues("a/"); err != nil || !slices.Equal(names, []string{"a/x/", "a/y/"}) {
		t.Errorf("queues %v, %v", names, err)
	}
	if names, err := db.ListQueues("b/"); err != nil || len(names) != 0 {
		t.Errorf("an empty queue is listed: %v, %v", names, err)
	}
	if err := db.DropQueues("a/x/"); err != nil {
		t.Fatal(err)
	}
	if got, left := numbers(t, db, "a/x/"), numbers(t, db, "a/y/"); len(got) != 0 || len(left) != 1 {
		t.Errorf("after dropping: %v and %v", got, left)
	}
}

func TestManyCallersShareASync(t *testing.T) {
	db := open(t, stateDir(t))
	const callers, each = 64, 10
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				if err := db.ChangeQueue(put("q/", uint64(c*each+i+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := numbers(t, db, "q/"); len(got) != callers*each {
		t.Errorf("%d of %d records", len(got), callers*each)
	}
	var transactions int
	if err := db.view("x", func(tx *tx) error { transactions = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	if transactions > callers*each/4 { // each transaction is one sync
		t.Errorf("%d transactions for %d changes", transactions, callers*each)
	}
}

func TestOneBadChangeHarmsNoOther(t *testing.T) {
	db := open(t, stateDir(t))
	bad := errors.New("bad")
	jobs := make([]*job, 5)
	for i := range jobs {
		changes := put("q/", uint64(i+1))
		jobs[i] = &job{fn: func(tx *tx) error {
			if i%2 == 1 {
				return bad
			}
			queues, err := tx.CreateBucketIfNotExists(queuesBucket)
			if err != nil {
				return err
			}
			return change(queues, changes[0])
		}}
	}
	db.mu.Lock()
	db.runTogether(slices.Clone(jobs))
	db.mu.Unlock()
	for i, j := range jobs {
		if errors.Is(j.err, bad) != (i%2 == 1) {
			t.Errorf("job %d: %v", i, j.err)
		}
	}
	if got := numbers(t, db, "q/"); !slices.Equal(got, []uint64{1, 3, 5}) {
		t.Errorf("stored are %v", got)
	}
}
