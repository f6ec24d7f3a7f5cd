package conn

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

func (w *world) consume(name string, filters ...string) *Consumer {
	w.t.Helper()
	c, err := w.Consume(dev1, ConsumeRequest{Inbox: name, Filters: filters})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// deliverAck plays a message and returns what is closed when it is acknowledged.
func (w *world) deliverAck(topic string, qos byte) <-chan struct{} {
	acked := make(chan struct{})
	seen := w.platform.seen()
	seen[len(seen)-1].onMessage(message.Incoming{Topic: topic, QoS: qos, ReceivedAt: time.Now()}, func() { close(acked) })
	return acked
}

// deliveries takes until there are n.
func deliveries(t *testing.T, c *Consumer, n int) (topics []string, numbers []uint64) {
	t.Helper()
	for len(topics) < n {
		b, err := c.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Deliveries {
			topics, numbers = append(topics, d.Message.Topic[len(own):]), append(numbers, d.Number)
		}
	}
	return topics, numbers
}

func TestAnInboxCollectsWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		c := w.consume("a", own+"+")
		if b, err := c.Take(t.Context()); err != nil || !b.Granted {
			t.Fatalf("first came %+v, %v", b, err)
		}
		c.inbox.Close()
		<-w.deliverAck(own+"1", 1) // acknowledged, so it is on disk
		w.stop()
		w = start(t, w) // comes up by itself, with the subscription
		synctest.Wait()
		if heard := w.platform.link(dev1).heard(); !slices.Equal(heard, []string{"SUBSCRIBE " + own + "+"}) {
			t.Errorf("on the new link: %v", heard)
		}
		<-w.deliverAck(own+"2", 1)
		c = w.consume("a")
		got, numbers := deliveries(t, c, 2)
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("got %v", got)
		}
		stale, settled := c.Answer([]inbox.Answer{{Delivery: numbers[0], Verdict: inbox.Done}, {Delivery: 99, Verdict: inbox.Done}})
		if !slices.Equal(stale, []uint64{99}) || !slices.Equal(settled, numbers[:1]) {
			t.Errorf("stale %v, settled %v", stale, settled)
		}
		if all, err := w.Inboxes(dev1); err != nil || len(all) != 1 || all[0].Messages != 1 || all[0].Unanswered != 1 {
			t.Errorf("inboxes %+v, %v", all, err)
		}
	})
}

func TestAcknowledgementsComeInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		w.consume("a", own+"+")
		acks := make(chan string, 10)
		seen := w.platform.seen()
		for i := range 5 {
			topic := own + fmt.Sprint(i)
			if i == 2 {
				topic = "/sys/a1B2c3D4e5F/dev-001/thing/service/property/set" // no inbox wants it
			}
			seen[len(seen)-1].onMessage(message.Incoming{Topic: topic, QoS: 1, ReceivedAt: time.Now()}, func() { acks <- fmt.Sprint(i) })
		}
		synctest.Wait()
		for i := range 5 {
			if got := <-acks; got != fmt.Sprint(i) {
				t.Errorf("acknowledgement %d is of %s", i, got)
			}
		}
	})
}

func TestADeletedInboxIsUnsubscribedAndEndsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		c, other := w.consume("a", own+"x"), w.consume("b", own+"x", own+"y")
		if _, err := c.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.DeleteInbox(dev1, "a", false); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Take(t.Context()); !errors.Is(err, inbox.ErrUnknown) {
			t.Errorf("Take: %v", err)
		}
		if err := w.DeleteInbox(dev1, "b", false); err != nil {
			t.Fatal(err)
		}
		_ = other
		synctest.Wait()
		heard := w.platform.link(dev1).heard()
		if last := heard[len(heard)-1]; last != "UNSUBSCRIBE "+own+"x "+own+"y" && last != "UNSUBSCRIBE "+own+"y "+own+"x" {
			t.Errorf("said %v", heard)
		}
	})
}

func TestForgettingADeviceTakesItsInboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		c := w.consume("a", own+"x")
		<-w.deliverAck(own+"x", 1)
		if err := w.Forget(t.Context(), dev1, true); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Take(t.Context()); !errors.Is(err, inbox.ErrUnknown) {
			t.Errorf("Take: %v", err)
		}
		w.stop()
		w = start(t, w)
		if all := w.Devices(); len(all) != 0 {
			t.Errorf("known are %+v", all)
		}
	})
}

func TestACallIsAnsweredOnceAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		a, err := w.AnswerCalls(dev1, []string{"/sys/a1B2c3D4e5F/dev-001/rrpc/request/+", own + "get"})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		take := func() CallBatch {
			t.Helper()
			b, err := a.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if b := take(); !b.Granted {
			t.Errorf("first came %+v", b)
		}
		w.deliver("/sys/a1B2c3D4e5F/dev-001/rrpc/request/7")
		w.deliver("/ext/rrpc/8" + own + "get")
		calls := take().Calls
		if len(calls) != 2 || calls[0].Deadline.Sub(calls[0].Received) != 8*time.Second {
			t.Fatalf("calls %+v", calls)
		}
		result := func(call uint64) message.Receipt {
			t.Helper()
			a.Answer(call, []byte("yes"))
			for {
				if b := take(); len(b.Results) == 1 && b.Results[0].ID == call {
					return b.Results[0]
				}
			}
		}
		if r := result(calls[0].ID); r.Outcome != message.Sent {
			t.Errorf("the answer: %+v", r)
		}
		if r := result(calls[0].ID); !errors.Is(r.Err, ErrCallAnswered) {
			t.Errorf("twice: %+v", r)
		}
		if r := result(77); !errors.Is(r.Err, ErrCallUnknown) {
			t.Errorf("of no call: %+v", r)
		}
		if r := result(calls[1].ID); r.Outcome != message.Sent {
			t.Errorf("the answer on a custom topic: %+v", r)
		}
		w.deliver("/sys/a1B2c3D4e5F/dev-001/rrpc/request/9")
		late := take().Calls[0]
		time.Sleep(9 * time.Second)
		if r := result(late.ID); !errors.Is(r.Err, ErrCallExpired) {
			t.Errorf("late: %+v", r)
		}
		heard := w.platform.link(dev1).heard()
		want := []string{"SUBSCRIBE /ext/rrpc/+" + own + "get", "PUBLISH /sys/a1B2c3D4e5F/dev-001/rrpc/response/7", "PUBLISH /ext/rrpc/8" + own + "get"}
		if !slices.Equal(heard, want) {
			t.Errorf("said %v", heard)
		}
	})
}

func TestCallsAreSharedAmongThoseWhoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		var all []*Answerer
		for range 2 {
			a, err := w.AnswerCalls(dev1, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(a.Close)
			if _, err := a.Take(t.Context()); err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		for i := range 4 {
			w.deliver("/sys/a1B2c3D4e5F/dev-001/rrpc/request/" + fmt.Sprint(i))
		}
		for _, a := range all {
			if b, err := a.Take(t.Context()); err != nil || len(b.Calls) != 2 {
				t.Errorf("got %+v, %v", b, err)
			}
		}
		if told := of[event.MessagesDropped](w.told()); len(told) != 0 {
			t.Errorf("told %+v", told)
		}
	})
}

func TestASubscriptionThatEndsWhileItIsAskedForIsUnsubscribed(t *testing.T) {
	f := filtersOf(dev1)
	f.up(false, false, nil)
	if err := f.add([]string{"x"}); err != nil {
		t.Fatal(err)
	}
	f.work()
	f.remove([]string{"x"})
	f.answered([]string{"x"}, []byte{1})
	if _, drop := f.work(); !slices.Equal(drop, []string{"x"}) {
		t.Errorf("to be unsubscribed: %v", drop)
	}
}

func TestAFilterThatIsWantedAgainIsNotGrantedByWhatWasBefore(t *testing.T) {
	f := filtersOf(dev1)
	f.up(false, false, nil)
	names := []string{"x"}
	_ = f.add(names)
	f.work()
	f.answered(names, []byte{1})
	f.remove(names)
	f.work() // UNSUBSCRIBE is under way
	_ = f.add(names)
	if epoch, _, _ := f.standing(names); epoch != 0 {
		t.Error("it counts as granted")
	}
	f.gone(names)
	add, _ := f.work()
	if !slices.Equal(add, names) {
		t.Errorf("asked for again: %v", add)
	}
}

func TestWhatNobodyWantsAnyMoreIsUnsubscribedWhereTheSessionLasted(t *testing.T) {
	f := filtersOf(dev1)
	names := []string{"x"}
	for _, session := range []bool{true, false} {
		f.up(false, false, nil)
		_ = f.add(names)
		f.work()
		f.answered(names, []byte{1})
		f.down()
		f.remove(names)
		f.up(session, false, nil)
		if _, drop := f.work(); slices.Equal(drop, names) != session {
			t.Errorf("session %v: to be unsubscribed %v", session, drop)
		}
		f.gone(slices.Clone(names)[:map[bool]int{true: 1}[session]])
	}
}

func TestAFilterThatWasRefusedIsAskedForAgain(t *testing.T) {
	f := filtersOf(dev1)
	f.up(false, false, nil)
	if err := f.add([]string{"/a"}); err != nil { // an inbox wants it, with or without a stream
		t.Fatal(err)
	}
	for name, again := range map[string]func(){
		"by another stream": func() { _ = f.add([]string{"/a"}) },
		"on a new link": func() {
			f.down()
			f.up(true, false, nil)
		},
	} {
		f.answered([]string{"/a"}, []byte{0x80})
		if subscribe, _ := f.work(); len(subscribe) != 0 {
			t.Errorf("asked for %v at once", subscribe)
		}
		again()
		if subscribe, _ := f.work(); len(subscribe) != 1 {
			t.Errorf("%s: asked for %v", name, subscribe)
		}
	}
}

func filtersOf(id device.ID) *filters { return &newKeeper(id, &environment{}).filters }
