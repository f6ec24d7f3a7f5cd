package event

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

func TestReaderIsToldOfTheDevicesAndKindsItChose(t *testing.T) {
	l, _ := run(t, newMemory())
	all := l.Open(Selection{})
	one := l.Open(Selection{Devices: []device.ID{dev("d1")}})
	kind := l.Open(Selection{Kinds: []Kind{KindOnline, KindWarning}})
	both := l.Open(Selection{Devices: []device.ID{dev("d2")}, Kinds: []Kind{KindConnecting}})
	for _, name := range []string{"d1", "d2"} {
		l.Publish(Attempting{}, Status{Device: dev(name)})
		l.Publish(WentOnline{}, Status{Device: dev(name)})
	}
	l.Publish(Warning{Code: WarnStateSetAside}, Status{}) // of the whole sidecar
	untilShown(t, l, 5)
	for name, c := range map[string]struct {
		reader *Reader
		want   []uint64
	}{
		"all": {all, []uint64{1, 2, 3, 4, 5}}, "one device": {one, []uint64{1, 2, 5}},
		"two kinds": {kind, []uint64{2, 4, 5}}, "one device and one kind": {both, []uint64{3}},
	} {
		t.Run(name, func(t *testing.T) {
			takeBody[Snapshot](t, c.reader)
			for _, want := range c.want {
				if e := take(t, c.reader); e.Event.Sequence != want || e.Cursor.Sequence != want {
					t.Errorf("got event %d at %d, want %d", e.Event.Sequence, e.Cursor.Sequence, want)
				}
			}
			takeNothing(t, c.reader)
		})
	}
}

func TestSnapshotHasTheChosenDevicesAndNeverTheSidecarItself(t *testing.T) {
	l, _ := run(t, newMemory())
	tell(l, "d1", 1, 1)
	tell(l, "d2", 1, 1)
	l.Publish(Warning{Code: WarnStateSetAside}, Status{})
	untilShown(t, l, 3)
	for want, chosen := range map[int][]device.ID{2: nil, 1: {dev("d2"), dev("unknown")}} {
		body, _ := takeBody[Snapshot](t, l.Open(Selection{Devices: chosen}))
		if len(body.Statuses) != want || body.Statuses[want-1].Device != dev("d2") {
			t.Errorf("chosen %v: got %+v", chosen, body.Statuses)
		}
	}
}

func TestReaderThatWantsLittleKeepsUpAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newMemory()
		j.keep = ringSize
		l, _ := run(t, j)
		r := l.Open(Selection{Kinds: []Kind{KindRegistered}})
		takeBody[Snapshot](t, r)
		taken := make(chan Entry, 1)
		go func() {
			e, _ := r.Take(t.Context())
			taken <- e
		}()
		for c := range 10 {
			tell(l, "d1", 500*c+1, 500*(c+1))
			time.Sleep(gatherFor) // the log may have waited for more
			synctest.Wait()       // it has moved over them
		}
		l.Publish(Registered{}, Status{Device: dev("d1")})
		if e := <-taken; e.Event.Sequence != 5001 {
			t.Errorf("got %+v", e)
		}
	})
}

// A reader that chose little may resume from a place that the journal has left although it missed nothing. The log cannot know
// that; it says so.
func TestGapOfAReaderThatChoseSaysThatItMayConcernOthers(t *testing.T) {
	j := newMemory()
	j.keep = 10
	l, stop := run(t, j)
	tell(l, "d1", 1, 100)
	stop()
	l, _ = run(t, j)
	details := map[bool]string{}
	for _, chose := range []bool{false, true} {
		s := Selection{After: &Cursor{"e0", 5}}
		if chose {
			s.Kinds = []Kind{KindRegistered}
		}
		r := l.Open(s)
		takeBody[Snapshot](t, r)
		gap, at := takeBody[Gap](t, r)
		if gap.Count != 85 || at.Sequence != 90 {
			t.Errorf("got %+v at %v", gap, at)
		}
		details[chose] = gap.Detail
	}
	if details[true] == details[false] {
		t.Errorf("both are told %q", details[true])
	}
}
