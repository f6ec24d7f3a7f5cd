package store

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEachJournalHasAnEpochOfItsOwn(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir)
	epoch := db.Epoch()
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(epoch) {
		t.Errorf("the epoch is %q", epoch)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, dir).Epoch(); again != epoch {
		t.Errorf("the epoch became %q, was %q", again, epoch)
	}
	if other := open(t, stateDir(t)).Epoch(); other == epoch {
		t.Errorf("two journals have the epoch %q", other)
	}
}

func TestAnEmptyJournal(t *testing.T) {
	db := open(t, stateDir(t))
	if err := db.AppendEvents(7, nil); err != nil {
		t.Error(err)
	}
	first, events, err := db.ReadEvents(0, 10)
	last, err2 := db.LastSequence()
	oldest, err3 := db.OldestSequence()
	if first != 0 || events != nil || err != nil || last != 0 || err2 != nil || oldest != 0 || err3 != nil {
		t.Errorf("first %d, events %q, last %d, oldest %d; %v %v %v", first, events, last, oldest, err, err2, err3)
	}
}

func TestEventsAreReadFromAnywhere(t *testing.T) {
	db := open(t, stateDir(t))
	for _, row := range []struct {
		first uint64
		n     int
	}{{5, 3}, {8, 2}, {20, 1}, {21, 4}} { // 5…9, a hole, 20…24
		if err := db.AppendEvents(row.first, records(row.first, row.n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		after uint64
		limit int
		first uint64
		n     int
	}{
		{0, 100, 5, 5},
		{4, 100, 5, 5},
		{5, 100, 6, 4},
		{5, 2, 6, 2},
		{8, 100, 9, 1},
		{9, 100, 20, 5},
		{15, 100, 20, 5},
		{19, 1, 20, 1},
		{23, 9, 24, 1},
		{24, 100, 0, 0},
		{1 << 40, 100, 0, 0},
		{math.MaxUint64, 100, 0, 0},
		{0, 0, 0, 0},
		{0, -1, 0, 0},
	} {
		first, events, err := db.ReadEvents(row.after, row.limit)
		if err != nil || first != row.first || !slices.EqualFunc(events, records(row.first, row.n), bytes.Equal) {
			t.Errorf("ReadEvents(%d, %d) = %d, %q, %v; want %d events from %d", row.after, row.limit, first, events, err, row.n, row.first)
		}
	}
	oldest, _ := db.OldestSequence()
	if last, _ := db.LastSequence(); last != 24 || oldest != 5 {
		t.Errorf("it runs from %d to %d", oldest, last)
	}
}

func TestSequencesNeverGoBack(t *testing.T) {
	db := open(t, stateDir(t))
	if err := db.AppendEvents(10, records(10, 5)); err != nil {
		t.Fatal(err)
	}
	for _, first := range []uint64{0, 1, 10, 13, 14, math.MaxUint64, math.MaxUint64 - 1} {
		if err := db.AppendEvents(first, records(first, 2)); err == nil || !strings.Contains(err.Error(), "cannot follow 14") {
			t.Errorf("appending at %d: %v", first, err)
		}
	}
	if first, events, err := db.ReadEvents(0, 100); err != nil || first != 10 || !slices.EqualFunc(events, records(10, 5), bytes.Equal) {
		t.Errorf("the journal became %q from %d, %v", events, first, err)
	}
	if err := db.AppendEvents(math.MaxUint64-3, records(0, 3)); err != nil {
		t.Errorf("near the end of all numbers: %v", err)
	}
}

func TestTheOldestEventsMakeRoom(t *testing.T) {
	big := func(n int) [][]byte { return slices.Repeat([][]byte{make([]byte, 1000)}, n) }
	for _, row := range []struct {
		name    string
		option  Option
		batches []int
		kept    int
	}{
		{"by count", KeepEvents(10, 0), []int{6, 6, 6}, 10},
		{"by count, in one batch", KeepEvents(10, 0), []int{50}, 10},
		{"by bytes", KeepEvents(0, 4500), []int{3, 1, 1, 1}, 4},
		{"by bytes, exactly", KeepEvents(0, 4000), []int{3, 1, 1, 1}, 4},
		{"but never the newest", KeepEvents(0, 10), []int{2, 1}, 1},
		{"unless there is room", KeepEvents(-1, -1), []int{30, 30}, 60},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := stateDir(t)
			db := open(t, dir, row.option)
			last := uint64(0)
			for _, n := range row.batches {
				if err := db.AppendEvents(last+1, big(n)); err != nil {
					t.Fatal(err)
				}
				last += uint64(n)
			}
			for range 2 { // as it is, and as it is read again
				first, events, err := db.ReadEvents(0, 1000)
				oldest, _ := db.OldestSequence()
				if err != nil || len(events) != row.kept || first != last-uint64(row.kept)+1 || oldest != first {
					t.Errorf("%d events from %d, oldest %d, %v; want %d", len(events), first, oldest, err, row.kept)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = open(t, dir, row.option)
			}
		})
	}
}

func TestALongLifeDoesNotGrowTheFile(t *testing.T) {
	db := open(t, stateDir(t), KeepEvents(200, 0))
	var early int64
	for i := range uint64(60) {
		if err := db.AppendEvents(i*50+1, records(i*50+1, 50)); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			early = db.Size()
		}
	}
	if late := db.Size(); late > 2*early {
		t.Errorf("the file grew from %d to %d bytes", early, late)
	}
}

func TestTheJournalBehavesLikeAList(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const maxEvents, maxBytes = 12, 100
		dir := stateDir(t)
		db := open(t, dir, KeepEvents(maxEvents, maxBytes))
		defer func() { _ = db.Close() }()
		type event struct {
			sequence uint64
			text     string
		}
		var list []event
		last := func() uint64 {
			if len(list) == 0 {
				return 0
			}
			return list[len(list)-1].sequence
		}
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				first := last() + rapid.Uint64Range(1, 3).Draw(r, "step")
				texts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 30), 1, 5).Draw(r, "records")
				if err := db.AppendEvents(first, texts); err != nil {
					r.Fatal(err)
				}
				for i, text := range texts {
					list = append(list, event{first + uint64(i), string(text)})
				}
				for size := func() (n int) {
					for _, e := range list {
						n += len(e.text)
					}
					return n
				}; len(list) > 1 && (len(list) > maxEvents || size() > maxBytes); {
					list = list[1:]
				}
			},
			"read": func(r *rapid.T) {
				after, limit := rapid.Uint64Range(0, last()+2).Draw(r, "after"), rapid.IntRange(1, 8).Draw(r, "limit")
				first, events, err := db.ReadEvents(after, limit)
				if err != nil {
					r.Fatal(err)
				}
				var want []event
				for _, e := range list {
					if e.sequence > after && len(want) < limit && (len(want) == 0 || e.sequence == want[len(want)-1].sequence+1) {
						want = append(want, e)
					} else if len(want) > 0 {
						break
					}
				}
				for i, text := range events {
					if i >= len(want) || want[i] != (event{first + uint64(i), string(text)}) {
						r.Fatalf("read %q from %d, want %v", events, first, want)
					}
				}
				if len(events) != len(want) {
					r.Fatalf("read %q from %d, want %v", events, first, want)
				}
			},
			"restart": func(r *rapid.T) {
				if err := db.Close(); err != nil {
					r.Fatal(err)
				}
				db = open(t, dir, KeepEvents(maxEvents, maxBytes))
			},
			"": func(r *rapid.T) {
				newest, err := db.LastSequence()
				oldest, err2 := db.OldestSequence()
				if err != nil || err2 != nil || newest != last() || len(list) > 0 && oldest != list[0].sequence {
					r.Fatalf("it runs from %d to %d, %v, %v; want %v", oldest, newest, err, err2, list)
				}
			},
		})
	})
}
