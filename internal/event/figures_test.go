package event

import (
	"reflect"
	"testing"
)

func TestFiguresCountWhatWasPublishedAndWhatReadersMiss(t *testing.T) {
	j := newMemory()
	l, _ := run(t, j)
	r := l.Open(Selection{})
	takeBody[Snapshot](t, r)
	tell(l, "d1", 1, 3)
	takeAttempts(t, r, 1, 3)
	j.set(func(m *memory) { m.broken = errFull })
	tell(l, "d1", 4, 5)
	takeAttempts(t, r, 4, 5)
	f := l.Figures()
	if f.Published[KindConnecting] != 5 || f.Published[KindOnline] != 0 || f.Unstored != 2 || f.Dropped != 0 || f.Gaps != 0 || f.Pending != 0 {
		t.Errorf("figures %+v", f)
	}
	late := l.Open(Selection{After: &Cursor{Epoch: "another"}})
	takeBody[Snapshot](t, late)
	takeBody[Gap](t, late)
	if f := l.Figures(); f.Gaps != 1 {
		t.Errorf("figures %+v", f)
	}
}

func TestAllCountersAreAdded(t *testing.T) {
	var one, sum Counters
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i + 1))
	}
	sum.Add(one)
	sum.Add(one)
	for i, f := range reflect.ValueOf(sum).Fields() {
		if want := 2 * uint64(i.Index[0]+1); f.Uint() != want {
			t.Errorf("%s is %d, want %d", i.Name, f.Uint(), want)
		}
	}
}
