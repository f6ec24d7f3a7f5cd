package conn

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
)

func stored(ids ...uint64) []message.Outgoing {
	all := outgoing(ids...)
	for i := range all {
		all[i].Stored = true
	}
	return all
}

// outcomes takes receipts until there are n, and returns the outcomes of each message in their order.
func outcomes(t *testing.T, p *Publisher, n int) map[uint64][]message.Outcome {
	t.Helper()
	all := map[uint64][]message.Outcome{}
	for n > 0 {
		some, err := p.Receipts().Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			all[r.ID] = append(all[r.ID], r.Outcome)
			n--
		}
	}
	return all
}

func (w *world) published(l *fakeLink) (topics []string) {
	for _, said := range l.heard() {
		var topic string
		if n, _ := fmt.Sscanf(said, "PUBLISH %s", &topic); n == 1 {
			topics = append(topics, topic[len(own):])
		}
	}
	return topics
}

func TestStoredMessagesAreTakenOfflineAndSentWhenTheDeviceIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.stop()
		w = start(t, w)
		p := w.publisher()
		p.Publish(stored(1, 2, 3))
		for id, got := range outcomes(t, p, 3) {
			if got[0] != message.Stored {
				t.Errorf("%d: %v", id, got)
			}
		}
		if s, _ := w.Device(dev1); s.Queue.StoredMessages != 3 || s.Queue.OldestStored.IsZero() || s.Queue.StoredBytes == 0 {
			t.Errorf("status %+v", s.Queue)
		}
		p.Close()
		w.stop()
		w = start(t, w) // a restart
		w.mustConnect()
		synctest.Wait()
		if got := w.published(w.platform.link(dev1)); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("sent %v", got)
		}
		time.Sleep(2 * time.Second)
		if told := of[event.StoredEnded](w.told()); len(told) != 1 || told[0].Count != 3 || told[0].Outcome != int(message.Acknowledged) ||
			!slices.Equal(told[0].Ranges, []event.SequenceRange{{First: 1, Last: 3}}) {
			t.Errorf("told %+v", told)
		}
		if s, _ := w.Device(dev1); s.Queue.StoredMessages != 0 || s.Counters.StoredSent != 3 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWhatIsStoredIsSentAgainAfterTheLinkWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 2 })
		p := w.publisher()
		p.Publish(stored(1, 2, 3, 4))
		outcomes(t, p, 4)
		synctest.Wait()
		w.platform.set(func(f *fakePlatform) { f.hold = false })
		w.platform.link(dev1).lose(cut())
		for id, got := range outcomes(t, p, 4) {
			if got[0] != message.Acknowledged {
				t.Errorf("%d: %v", id, got)
			}
		}
		if got := w.published(w.platform.link(dev1)); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
			t.Errorf("sent again %v", got)
		}
		if s, _ := w.Device(dev1); s.Counters.MessagesUnknown != 2 {
			t.Errorf("counted %+v", s.Counters)
		}
	})
}

func TestStoredAndConfirmedMessagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.hold = true
		w.mustConnect(func(r *ConnectRequest) { r.Settings.MaxInflight = 1 })
		p := w.publisher()
		p.Publish(stored(1, 2, 3, 4, 5, 6))
		outcomes(t, p, 6)
		other := w.publisher()
		other.Publish(outgoing(7))
		for range 3 {
			synctest.Wait()
			w.platform.link(dev1).ackAll()
		}
		if got := receipts(t, other, 1); got[7].Outcome != message.Acknowledged {
			t.Errorf("receipts %v", got)
		}
	})
}

func TestAForgottenDevicesMessagesAreToldAsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.stop()
		w = start(t, w)
		p := w.publisher()
		p.Publish(stored(1))
		outcomes(t, p, 1)
		if err := w.Forget(t.Context(), dev1, false); err != nil {
			t.Fatal(err)
		}
		some, err := p.Receipts().Take(t.Context())
		if err != nil || some[0].Outcome != message.Dropped || !errors.Is(some[0].Err, outbox.ErrForgotten) {
			t.Errorf("receipts %+v, %v", some, err)
		}
		if _, err := w.Device(dev1); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("the device is known: %v", err)
		}
	})
}

func TestAForgottenDevicesKeysAreForgottenAfterARestartToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		m := stored(1)
		m[0].Key = "k"
		p := w.publisher()
		p.Publish(m)
		outcomes(t, p, 1)
		synctest.Wait()
		w.platform.link(dev1).ackAll()
		outcomes(t, p, 1)
		w.stop()
		w = start(t, w)
		if err := w.Forget(t.Context(), dev1, true); err != nil {
			t.Fatal(err)
		}
		w.store(dev1, "s1")
		w.mustConnect()
		p = w.publisher()
		p.Publish(m)
		if got := outcomes(t, p, 1)[1]; got[0] != message.Stored {
			t.Errorf("the message of the device that is known anew: %v", got)
		}
	})
}

func TestADeviceKeepsToItsRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, func(o *Options) { o.Rates = Rates{MessagesPerSecond: 10} })
		w.store(dev1, "s1")
		w.mustConnect()
		p := w.publisher()
		ids := make([]uint64, 60)
		for i := range ids {
			ids[i] = uint64(i + 1)
		}
		began := time.Now()
		p.Publish(outgoing(ids...))
		time.Sleep(550 * time.Millisecond) // not when one of them is sent
		if s, _ := w.Device(dev1); !s.Queue.Shaped || s.Queue.Waiting == 0 || s.Queue.MessagesPerSecond != 10 {
			t.Errorf("status %+v", s.Queue)
		}
		receipts(t, p, 60)
		if took := time.Since(began); took < 4900*time.Millisecond || took > 5100*time.Millisecond { // virtual: 10 at once, then 10 a second
			t.Errorf("60 messages took %v", took)
		}
		if s, _ := w.Device(dev1); s.Queue.Shaped || s.Counters.MessagesSent != 60 {
			t.Errorf("then %+v", s)
		}
	})
}

func TestWhatIsForStoredMessagesOnlyIsRefusedOtherwise(t *testing.T) {
	for name, m := range map[string]message.Outgoing{
		"ttl":                {TTL: time.Second},
		"priority":           {Priority: 1},
		"key":                {Key: "k"},
		"ttl of two years":   {Stored: true, TTL: 2 * maxTTL},
		"priority of 10":     {Stored: true, Priority: 10},
		"a key of 129 bytes": {Stored: true, Key: string(make([]byte, 129))},
		"a key of no text":   {Stored: true, Key: "\xff"},
	} {
		m.Topic = own + "x"
		if err := ValidateOutgoing(dev1, m); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
