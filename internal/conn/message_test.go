package conn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const own = "/a1B2c3D4e5F/dev-001/user/"

// online starts a sidecar with dev1 online.
func online(t *testing.T, change ...func(*ConnectRequest)) *world {
	w := start(t, nil)
	w.store(dev1, "s1")
	w.mustConnect(change...)
	synctest.Wait()
	return w
}

func outgoing(ids ...uint64) []message.Outgoing {
	all := make([]message.Outgoing, len(ids))
	for i, id := range ids {
		all[i] = message.Outgoing{ID: id, Topic: own + fmt.Sprint(id), QoS: 1}
	}
	return all
}

func (w *world) publisher() *Publisher {
	w.t.Helper()
	p, err := w.Publisher(dev1)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

// receipts takes n receipts, by id.
func receipts(t *testing.T, p *Publisher, n int) map[uint64]message.Receipt {
	t.Helper()
	all := map[uint64]message.Receipt{}
	for len(all) < n {
		some, err := p.Receipts().Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			if _, twice := all[r.ID]; twice {
				t.Errorf("two receipts for %d", r.ID)
			}
			all[r.ID] = r
		}
	}
	return all
}

func TestMessagesAreSentInOrderAndEachHasAReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		p := w.publisher()
		p.Publish(outgoing(1, 2, 3))
		p.Publish([]message.Outgoing{{ID: 4, Topic: own + "4"}})
		got := receipts(t, p, 4)
		if got[1].Outcome != message.Acknowledged || got[3].Outcome != message.Acknowledged || got[4].Outcome != message.Sent {
			t.Errorf("receipts %v", got)
		}
		if want := []string{"PUBLISH " + own + "1", "PUBLISH " + own + "2", "PUBLISH " + own + "3", "PUBLISH " + own + "4"}; !slices.Equal(w.platform.link(dev1).heard(), want) {
			t.Errorf("sent %v", w.platform.link(dev1).heard())
		}
	})
}

func TestNoMoreThanTheWindowIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 3 })
		p := w.publisher()
		p.Publish(outgoing(1, 2, 3, 4, 5, 6, 7, 8))
		for range 8 {
			synctest.Wait()
			w.platform.link(dev1).ackAll()
		}
		receipts(t, p, 8)
		if most := w.platform.link(dev1).mostAtOnce; most != 3 {
			t.Errorf("%d were under way at once", most)
		}
	})
}

func TestWhatIsCutIsUnknownAndWhatWaitsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 2 })
		p := w.publisher()
		p.Publish(outgoing(1, 2, 3, 4))
		synctest.Wait()
		w.platform.link(dev1).lose(cut())
		got := receipts(t, p, 4)
		for id, want := range map[uint64]message.Outcome{1: message.Unknown, 2: message.Unknown, 3: message.Failed, 4: message.Failed} {
			if got[id].Outcome != want {
				t.Errorf("%d: %v, want %v", id, got[id], want)
			}
		}
		if !errors.Is(got[1].Err, ErrUnacknowledged) || !errors.Is(got[4].Err, ErrNotOnline) {
			t.Errorf("because of %v and %v", got[1].Err, got[4].Err)
		}
		// Nothing of it is sent again by itself.
		time.Sleep(time.Minute)
		if heard := w.platform.link(dev1).heard(); len(heard) != 0 {
			t.Errorf("on the next link: %v", heard)
		}
	})
}

func TestPublishingOfflineFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.stop()
		w = start(t, w)
		p := w.publisher()
		p.Publish(outgoing(1))
		if got := receipts(t, p, 1); got[1].Outcome != message.Failed || !errors.Is(got[1].Err, ErrNotOnline) {
			t.Errorf("receipts %v", got)
		}
		if _, err := w.Publisher(dev2); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("of an unknown device: %v", err)
		}
	})
}

func TestAPlatformThatNeverAcknowledgesLosesItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect()
		p := w.publisher()
		p.Publish(outgoing(1))
		if got := receipts(t, p, 1); got[1].Outcome != message.Unknown {
			t.Errorf("receipts %v", got)
		}
		synctest.Wait()
		if lost := of[event.Lost](w.told()); len(lost) != 1 || lost[0].Cause != event.CauseAckTimeout {
			t.Errorf("told %+v", lost)
		}
	})
}

func TestDisconnectWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect()
		p := w.publisher()
		p.Publish(outgoing(1))
		synctest.Wait()
		l := w.platform.link(dev1)
		time.AfterFunc(time.Second, l.ackAll)
		if _, err := w.Disconnect(t.Context(), dev1); err != nil {
			t.Fatal(err)
		}
		if got := receipts(t, p, 1); got[1].Outcome != message.Acknowledged {
			t.Errorf("receipts %v", got)
		}
	})
}

func TestOneCallerThatFloodsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 1 })
		flood, other := w.publisher(), w.publisher()
		flood.Publish(outgoing(make([]uint64, 1000)...))
		synctest.Wait()
		other.Publish(outgoing(7))
		for range 4 {
			synctest.Wait()
			w.platform.link(dev1).ackAll()
		}
		if got := receipts(t, other, 1); got[7].Outcome != message.Acknowledged {
			t.Errorf("receipts %v", got)
		}
	})
}

func TestAQueueThatIsBoundedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight, r.Settings.MaxQueued = 1, 2 })
		p := w.publisher()
		p.Publish(outgoing(1))
		synctest.Wait()
		p.Publish(outgoing(2, 3, 4))
		if got := receipts(t, p, 1); !errors.Is(got[4].Err, ErrQueueFull) {
			t.Errorf("receipts %v", got)
		}
	})
}

func TestWhatThePlatformWouldDropIsRefused(t *testing.T) {
	for field, m := range map[string]message.Outgoing{
		"topic of another device": {Topic: "/a1B2c3D4e5F/dev-002/user/x"},
		"wildcard":                {Topic: own + "+"},
		"129 bytes":               {Topic: own + strings.Repeat("x", 129-len(own))},
		"8 slashes":               {Topic: own + "a/b/c/d/e"},
		"payload":                 {Topic: own + "x", Payload: make([]byte, platform.MaxPayloadBytes+1)},
		"qos":                     {Topic: own + "x", QoS: 2},
	} {
		if err := ValidateOutgoing(dev1, m); err == nil {
			t.Errorf("%s is taken", field)
		}
	}
	if err := ValidateOutgoing(dev1, message.Outgoing{Topic: own + strings.Repeat("x", 128-len(own)), Payload: make([]byte, platform.MaxPayloadBytes), QoS: 1}); err != nil {
		t.Error(err)
	}
}

func (w *world) subscribe(filters ...string) *Subscription {
	w.t.Helper()
	s, err := w.Subscribe(dev1, filters, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// deliver plays a message from the platform.
func (w *world) deliver(topic string) {
	seen := w.platform.seen()
	seen[len(seen)-1].onMessage(message.Incoming{Topic: topic, QoS: 1, ReceivedAt: time.Now()}, func() {})
}

func take(t *testing.T, s *Subscription) Batch {
	t.Helper()
	b, err := s.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAGrantComesFirstAndAgainAfterEachRestoration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		s := w.subscribe(own + "+")
		if b := take(t, s); !b.Granted || len(b.Messages) != 0 {
			t.Errorf("first came %+v", b)
		}
		w.deliver(own + "get")
		if b := take(t, s); b.Granted || len(b.Messages) != 1 || b.Messages[0].Topic != own+"get" {
			t.Errorf("then came %+v", b)
		}
		w.platform.link(dev1).lose(cut())
		if b := take(t, s); !b.Granted {
			t.Errorf("after a new link came %+v", b)
		}
		if heard := w.platform.link(dev1).heard(); !slices.Equal(heard, []string{"SUBSCRIBE " + own + "+"}) {
			t.Errorf("on the new link: %v", heard)
		}
	})
}

func TestSubscriptionsAreRestoredBeforeAnythingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.stop()
		w = start(t, w)
		var filters []string
		for i := range 20 {
			filters = append(filters, own+fmt.Sprint(i))
		}
		s := w.subscribe(filters...) // before it is online
		w.mustConnect()
		p := w.publisher()
		p.Publish(outgoing(1))
		take(t, s)
		receipts(t, p, 1)
		heard := w.platform.link(dev1).heard()
		for i, said := range heard {
			packet := strings.Fields(said)
			if i < 3 && (packet[0] != "SUBSCRIBE" || len(packet)-1 > platform.MaxFiltersPerSubscribe) || i == 3 && packet[0] != "PUBLISH" {
				t.Errorf("packet %d is %v", i, packet)
			}
		}
		if len(heard) != 4 {
			t.Errorf("said %v", heard)
		}
	})
}

func TestSharedFiltersAreSubscribedOnceAndUnsubscribedByTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		one, two := w.subscribe(own+"get"), w.subscribe(own+"get")
		take(t, one)
		take(t, two)
		one.Close()
		synctest.Wait()
		w.deliver(own + "get")
		if b := take(t, two); len(b.Messages) != 1 {
			t.Errorf("came %+v", b)
		}
		two.Close()
		synctest.Wait()
		if heard := w.platform.link(dev1).heard(); !slices.Equal(heard, []string{"SUBSCRIBE " + own + "get", "UNSUBSCRIBE " + own + "get"}) {
			t.Errorf("said %v", heard)
		}
	})
}

func TestARefusedFilterEndsItsSubscriptionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.refuseFilter = own + "secret"
		w.mustConnect()
		good, bad := w.subscribe(own+"get"), w.subscribe(own+"secret")
		take(t, good)
		if _, err := bad.Take(t.Context()); !errors.Is(err, ErrFilterRefused) {
			t.Errorf("Take: %v", err)
		}
		bad.Close()
		w.deliver(own + "get")
		if b := take(t, good); len(b.Messages) != 1 {
			t.Errorf("came %+v", b)
		}
		if told := of[event.SubscriptionRefused](w.told()); len(told) != 1 || told[0].Filter != own+"secret" {
			t.Errorf("told %+v", told)
		}
	})
}

func TestSystemTopicsNeedNoSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		s := w.subscribe("/sys/a1B2c3D4e5F/dev-001/thing/service/property/set")
		if b := take(t, s); !b.Granted {
			t.Errorf("came %+v", b)
		}
		w.deliver("/sys/a1B2c3D4e5F/dev-001/thing/service/property/set")
		take(t, s)
		if heard := w.platform.link(dev1).heard(); len(heard) != 0 {
			t.Errorf("said %v", heard)
		}
	})
}

func TestASlowReaderLosesTheOldestAndIsToldHowMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		slow, err := w.Subscribe(dev1, []string{own + "+"}, 10)
		if err != nil {
			t.Fatal(err)
		}
		quick := w.subscribe(own + "+")
		take(t, slow)
		take(t, quick)
		for i := range 25 {
			w.deliver(own + fmt.Sprint(i))
		}
		if b := take(t, slow); b.Missed != 15 || len(b.Messages) != 10 || b.Messages[0].Topic != own+"15" {
			t.Errorf("the slow one got %d after missing %d", len(b.Messages), b.Missed)
		}
		if b := take(t, quick); b.Missed != 0 || len(b.Messages) != 25 {
			t.Errorf("the other got %d, missed %d", len(b.Messages), b.Missed)
		}
		if told := of[event.MessagesDropped](w.told()); len(told) != 1 || told[0].Reason != event.DropSlowReader {
			t.Errorf("told %+v", told)
		}
	})
}

func TestWhereManyMessagesComeTheyComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		small, err := w.Subscribe(dev1, []string{own + "+"}, 4)
		if err != nil {
			t.Fatal(err)
		}
		s := w.subscribe(own + "+")
		both := []*Subscription{small, s}
		pairs := func(gap time.Duration) { // longer than it takes to see whether there are many
			for range 2*busyTime/gap + 1 {
				time.Sleep(gap)
				w.deliver(own + "1")
				w.deliver(own + "2")
				came := time.Now()
				for _, r := range both {
					if b := take(t, r); len(b.Messages) != 2 || time.Since(came) != 0 {
						t.Fatalf("%d came after %s", len(b.Messages), time.Since(came))
					}
				}
			}
		}
		three := func() {
			for i := range 3 {
				time.Sleep(restTime / 8)
				w.deliver(own + fmt.Sprint(i))
			}
		}
		take(t, small)
		take(t, s)
		pairs(time.Millisecond)
		go three()
		for range 3 {
			if b := take(t, s); len(b.Messages) != 1 {
				t.Errorf("where few come, %d were kept", len(b.Messages))
			}
		}
		take(t, small)
		pairs(restTime) // so that who takes has no rest
		last := time.Now()
		go three()
		if b := take(t, small); len(b.Messages) != 2 || time.Since(last) != restTime/4 {
			t.Errorf("half of what may wait: %d after %s", len(b.Messages), time.Since(last))
		}
		if b := take(t, s); len(b.Messages) != 3 || time.Since(last) != restTime {
			t.Errorf("those that follow: %d after %s", len(b.Messages), time.Since(last))
		}
	})
}

func TestTheHundredAndFirstFilterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		for i := range platform.MaxSubscriptions {
			w.subscribe(own + fmt.Sprint(i))
		}
		if _, err := w.Subscribe(dev1, []string{own + "more"}, 0); !errors.Is(err, ErrTooManyFilters) {
			t.Errorf("Subscribe: %v", err)
		}
		w.subscribe(own + "1").Close()                                       // shared, so no more
		w.subscribe("/sys/a1B2c3D4e5F/dev-001/thing/model/down_raw").Close() // the platform sends it unasked
	})
}

func TestSubscriptionsEndWithTheSidecarAndWithTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := online(t)
		s := w.subscribe(own + "x")
		take(t, s)
		if err := w.Forget(t.Context(), dev1, true); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Take(t.Context()); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("of a forgotten device: %v", err)
		}
		w = online(t)
		s = w.subscribe(own + "x")
		take(t, s)
		w.stop()
		if _, err := s.Take(t.Context()); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("after the end: %v", err)
		}
	})
}
