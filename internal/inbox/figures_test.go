package inbox

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestFiguresTellWhatIsInAllInboxesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := &Counters{}
		h := fresh(t, Options{MaxMessages: 4, Counters: counters})
		begin := time.Now()
		a := h.consume("a", 2, "/t")
		h.consume("b", 0, "/t").Close()
		h.arrive("1")
		time.Sleep(time.Minute)
		h.arrive("2", "3")
		f := h.Figures()
		if f.Boxes != 2 || f.Consumers != 1 || f.Messages != 6 || f.Out != 0 || f.DeadLetters != 0 || f.Fullest != 0.75 || f.Bytes == 0 || !f.Oldest.Equal(begin) {
			t.Errorf("figures %+v", f)
		}
		for range 2 { // twice for nothing, which is as often as it may be
			_, all := take(t, a)
			a.Answer(append(answer(Retry, all[0]), answer(Done, all[1:]...)...))
		}
		h.Tick(time.Now())
		f = h.Figures()
		if f.Boxes != 3 || f.Messages != 3 || f.DeadLetters != 1 || !f.Oldest.Equal(begin) {
			t.Errorf("with a dead letter: %+v", f)
		}
		if all, again := counters.Delivered.Load(), counters.Redelivered.Load(); all != 4 || again != 1 {
			t.Errorf("%d deliveries, %d of them again", all, again)
		}
		if err := h.Delete("b", true); err != nil {
			t.Fatal(err)
		}
		if f = h.Figures(); f.Messages != 0 || !f.Oldest.IsZero() {
			t.Errorf("the age of a dead letter counts: %+v", f)
		}
	})
}

// TestTheOldestMayBeWithAConsumer: what is delivered is as old as before.
func TestTheOldestMayBeWithAConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fresh(t, Options{})
		c := h.consume("a", 0, "/t")
		begin := time.Now()
		h.arrive("1")
		take(t, c)
		time.Sleep(time.Second)
		h.arrive("2")
		if f := h.Figures(); f.Out != 1 || !f.Oldest.Equal(begin) {
			t.Errorf("figures %+v", f)
		}
	})
}

func TestFiguresAreAdded(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	f := Figures{Boxes: 1, Messages: 2, Oldest: late, Fullest: 0.5, Delivered: 3}
	f.Add(Figures{Boxes: 1, Consumers: 1, Messages: 1, Out: 1, DeadLetters: 1, Bytes: 9, Oldest: early, Fullest: 0.25, Delivered: 1, Redelivered: 1})
	f.Add(Figures{})
	want := Figures{Boxes: 2, Consumers: 1, Messages: 3, Out: 1, DeadLetters: 1, Bytes: 9, Oldest: early, Fullest: 0.5, Delivered: 4, Redelivered: 1}
	if f != want {
		t.Errorf("got %+v, want %+v", f, want)
	}
}
