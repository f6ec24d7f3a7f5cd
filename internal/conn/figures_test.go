package conn

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
)

// stage is one of the Figures' stages.
func (f Figures) stage(name string, stored bool) Stage {
	for _, s := range f.Publish {
		if s.Name == name && s.Stored == stored {
			return s
		}
	}
	return Stage{}
}

func countOf(all []CauseCount, cause event.Cause) uint64 {
	for _, c := range all {
		if c.Cause == cause {
			return c.Count
		}
	}
	return 0
}

func TestRefusalsLossesAndFailuresAreCountedByTheirReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		w.platform.refuse(5)
		w.platform.link(dev1).lose(cut())
		time.Sleep(30 * time.Second)
		w.platform.fail(event.CauseDNS)
		time.Sleep(5 * time.Minute)
		w.platform.accept()
		time.Sleep(5 * time.Minute)
		f := w.Figures()
		if f.States[event.Online] != 1 || f.Counters.Connects != 2 || countOf(f.Losses, event.CauseNetwork) != 1 || f.Counters.Losses != 1 {
			t.Errorf("figures %+v", f)
		}
		if failures := countOf(f.Failures, event.CauseDNS); f.Refusals[4] != (CodeCount{5, 1}) || failures == 0 ||
			f.Counters.Attempts != 2+1+failures {
			t.Errorf("refusals %v, failures %v of %d attempts", f.Refusals, f.Failures, f.Counters.Attempts)
		}
		if s := f.TimeToOnline; s.Count != 2 || s.Sum < 300 || s.Buckets[.05] != 1 {
			t.Errorf("it took %+v to come online: at once at first, and minutes after the loss", s)
		}
	})
}

func TestACodeThatMQTTDoesNotHaveIsCountedWithItsLikes(t *testing.T) {
	m := newMeasures()
	for _, code := range []byte{1, 6, 200, 255} {
		m.refused(code)
	}
	if m.refusals[1].Load() != 1 || m.refusals[connackCodes].Load() != 3 {
		t.Errorf("counted %v", &m.refusals)
	}
}

func TestATakeoverIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		for range 4 {
			w.platform.link(dev1).lose(kick())
			time.Sleep(3 * time.Minute)
		}
		f := w.Figures()
		if f.Takeovers != 1 || f.TakeoverSuspected != 1 || countOf(f.Losses, event.CauseTakeoverSuspected) == 0 {
			t.Errorf("figures %+v", f)
		}
	})
}

func TestTheTimeOfMessagesIsCountedByStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		p := w.publisher()
		p.Publish(stored(1, 2))
		p.Publish(outgoing(3, 4, 5))
		outcomes(t, p, 2*2+3)
		w.platform.link(dev1).lose(cut())
		w.platform.refuse(3)
		p.Publish(stored(6))
		outcomes(t, p, 1)
		time.Sleep(10 * time.Minute)
		w.platform.accept()
		outcomes(t, p, 1)
		time.Sleep(2 * time.Second)
		f := w.Figures()
		for _, want := range []struct {
			name          string
			stored        bool
			count, atOnce uint64
		}{
			{"on_disk", true, 3, 3},
			{"sent", true, 3, 2},
			{"acknowledged", true, 3, 2},
			{"sent", false, 3, 3},
			{"acknowledged", false, 3, 3},
		} {
			if s := f.stage(want.name, want.stored).Seconds; s.Count != want.count || s.Buckets[600] != want.atOnce {
				t.Errorf("%s (stored: %v): %+v, want %d, %d of them soon", want.name, want.stored, s, want.count, want.atOnce)
			}
		}
		if f.Outbox.Ended[EndedAcknowledged] != 3 || f.Counters.StoredSent != 3 || f.Outbox.Messages != 0 {
			t.Errorf("outboxes %+v", f.Outbox)
		}
	})
}

func TestWhatNobodyAcknowledgesHasNoTimeOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		p := w.publisher()
		all := outgoing(1)
		all[0].QoS = 0
		p.Publish(all)
		receipts(t, p, 1)
		f := w.Figures()
		if f.stage("sent", false).Seconds.Count != 1 || f.stage("acknowledged", false).Seconds.Count != 0 {
			t.Errorf("stages %+v", f.Publish)
		}
	})
}

func TestWhatWaitsShowsInTheFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, func(o *Options) {
			o.Outbox, o.Inbox = outbox.Options{MaxMessages: 10}, inbox.Options{MaxMessages: 4}
		})
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 1 })
		p := w.publisher()
		p.Publish(stored(1, 2, 3, 4, 5))
		outcomes(t, p, 5)
		p.Publish(outgoing(6, 7))
		c := w.consume("a", own+"+")
		<-w.deliverAck(own+"1", 1)
		<-w.deliverAck(own+"2", 1)
		if _, err := w.Subscribe(dev1, []string{own + "more"}, 0); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		time.Sleep(30 * time.Second)
		f := w.Figures()
		if o := f.Outbox; o.Messages != 5 || o.Bytes == 0 || o.Fullest != 0.5 || since.Sub(o.Oldest).Abs() > time.Second {
			t.Errorf("outboxes %+v", o)
		}
		if f.InFlight != 1 || f.Waiting != 2 || f.Filters != (Filters{Granted: 2}) {
			t.Errorf("%d in flight, %d waiting, filters %+v", f.InFlight, f.Waiting, f.Filters)
		}
		if i := f.Inbox; i.Boxes != 1 || i.Messages != 2 || i.Bytes == 0 || i.Fullest != 0.5 || i.Oldest.IsZero() || i.Consumers != 1 || i.Delivered != 0 {
			t.Errorf("inboxes %+v", i)
		}
		_, numbers := deliveries(t, c, 2)
		c.Answer([]inbox.Answer{{Delivery: numbers[0], Verdict: inbox.Done}, {Delivery: numbers[1], Verdict: inbox.Retry}})
		deliveries(t, c, 1)
		if i := w.Figures().Inbox; i.Messages != 1 || i.Out != 1 || i.Delivered != 3 || i.Redelivered != 1 {
			t.Errorf("inboxes %+v", i)
		}
		w.platform.link(dev1).lose(cut())
		w.platform.refuse(3)
		synctest.Wait()
		if got := w.Figures().Filters; got != (Filters{}) {
			t.Errorf("without a link there are the filters %+v", got)
		}
	})
}

func TestARefusedFilterIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.refuseFilter = own + "no"
		w.mustConnect()
		for _, name := range []string{"no", "yes"} {
			if _, err := w.Subscribe(dev1, []string{own + name}, 0); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := w.Figures().Filters; got != (Filters{Granted: 1, Refused: 1}) {
			t.Errorf("filters %+v", got)
		}
	})
}

// TestForgettingADeviceTakesNothingFromTheCounts keeps them from falling, which whoever reads them takes for a restart.
func TestForgettingADeviceTakesNothingFromTheCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		p := w.publisher()
		p.Publish(append(stored(1, 2), outgoing(3)...))
		outcomes(t, p, 2*2+1)
		c := w.consume("a", own+"+")
		<-w.deliverAck(own+"1", 1)
		deliveries(t, c, 1)
		w.deliverAck(own+"a/b", 1) // unclaimed
		w.platform.set(func(f *fakePlatform) { f.hold = true })
		w.platform.link(dev1).lose(cut())
		time.Sleep(time.Minute)
		p.Publish(stored(4))
		outcomes(t, p, 1)
		before := w.Figures()
		if err := w.Forget(t.Context(), dev1, true); err != nil {
			t.Fatal(err)
		}
		after := w.Figures()
		if n := after.States; n != [event.Rejected + 1]int{} {
			t.Errorf("there are devices: %v", n)
		}
		for i, was := range reflect.ValueOf(before.Counters).Fields() {
			if now := reflect.ValueOf(after.Counters).FieldByIndex(i.Index).Uint(); now < was.Uint() {
				t.Errorf("%s was %d and is %d", i.Name, was.Uint(), now)
			}
		}
		if after.Outbox.Ended[EndedForgotten] != 1 || after.Inbox.Delivered != 1 || before.Counters.Unclaimed != 1 || before.Counters.BytesSent == 0 {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if _, err := w.Device(dev1); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("the device is still known: %v", err)
		}
	})
}

func TestEndingsHaveNames(t *testing.T) {
	for _, c := range []struct {
		ended outbox.Ended
		name  string
	}{
		{outbox.Ended{Outcome: message.Acknowledged}, "acknowledged"},
		{outbox.Ended{Outcome: message.Sent}, "sent"},
		{outbox.Ended{Outcome: message.Expired, Why: outbox.ErrExpired}, "expired"},
		{outbox.Ended{Outcome: message.Dropped, Why: outbox.ErrFull}, "made_room"},
		{outbox.Ended{Outcome: message.Dropped, Why: outbox.ErrForgotten}, "forgotten"},
		{outbox.Ended{Outcome: message.Dropped, Why: outbox.ErrUnreadable}, "unreadable"},
	} {
		if got := endingOf(c.ended).String(); got != c.name {
			t.Errorf("%+v is called %q", c.ended, got)
		}
	}
}
