package inbox

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var dev = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}

type disk struct {
	*store.DB
	full   atomic.Bool
	before func() // called once, by the next change
}

func (d *disk) ChangeQueue(c []message.Change) error {
	if d.full.Load() {
		return statedir.ErrDiskFull
	}
	if before := d.before; before != nil {
		d.before = nil
		before()
	}
	return d.DB.ChangeQueue(c)
}

type house struct {
	*Shelf
	t    *testing.T
	dir  string
	disk *disk
}

func open(t *testing.T, dir string, o Options) *house {
	t.Helper()
	db, err := store.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	h := &house{t: t, dir: dir, disk: &disk{DB: db}}
	if h.Shelf, err = Open(dev, h.disk, o, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return h
}

func fresh(t *testing.T, o Options) *house { return open(t, filepath.Join(t.TempDir(), "state"), o) }

// again is the shelf after a restart.
func (h *house) again(o Options) *house {
	h.t.Helper()
	if err := h.disk.Close(); err != nil {
		h.t.Fatal(err)
	}
	return open(h.t, h.dir, o)
}

func (h *house) consume(name string, most int, filters ...string) *Consumer {
	h.t.Helper()
	b, err := h.Make(name, Settings{Filters: filters, MaxDeliveries: most}, false)
	if err != nil {
		h.t.Fatal(err)
	}
	return b.Consume(30*time.Second, 100)
}

func (h *house) arrive(payloads ...string) {
	h.t.Helper()
	var all []message.Incoming
	for _, p := range payloads {
		all = append(all, message.Incoming{Topic: "/t", Payload: []byte(p), QoS: 1, ReceivedAt: time.Now()})
	}
	if err := h.Arrive(all); err != nil {
		h.t.Fatal(err)
	}
}

func take(t *testing.T, c *Consumer) (payloads []string, all []Delivery) {
	t.Helper()
	batch, _, _, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range batch.Deliveries {
		payloads = append(payloads, string(d.Message.Payload))
	}
	return payloads, batch.Deliveries
}

func answer(v Verdict, all ...Delivery) (answers []Answer) {
	for _, d := range all {
		answers = append(answers, Answer{Delivery: d.Number, Verdict: v})
	}
	return answers
}

func TestMessagesOutliveAppAndSidecarUntilTheyAreDone(t *testing.T) {
	h := fresh(t, Options{})
	h.consume("a", 0, "/t").Close()
	h.arrive("1", "2", "3") // nobody reads
	h = h.again(Options{})
	if !slices.Equal(h.Filters(), []string{"/t"}) || !h.Wants("/t") || h.Wants("/u") {
		t.Errorf("the filters are %v", h.Filters())
	}
	c := h.consume("a", 0)
	got, all := take(t, c)
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got %v", got)
	}
	if stale, settled := c.Answer(answer(Done, all[1])); len(stale) != 0 || !slices.Equal(settled, []uint64{all[1].Number}) {
		t.Errorf("stale %v, settled %v", stale, settled)
	}
	h = h.again(Options{}) // without an answer to the others
	h.arrive("4")
	if got, all = take(t, h.consume("a", 0)); !slices.Equal(got, []string{"1", "3", "4"}) || all[2].Sequence != 4 {
		t.Errorf("after a restart %v", got)
	}
}

func TestWhatIsNotAnsweredInTimeComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fresh(t, Options{})
		c, other := h.consume("a", 0, "/t"), h.consume("a", 0)
		h.arrive("1", "2")
		_, all := take(t, c)
		if got, _ := take(t, other); len(got) != 0 {
			t.Errorf("the other one got %v too", got)
		}
		time.Sleep(31 * time.Second)
		got, again := take(t, other)
		if !slices.Equal(got, []string{"1", "2"}) || again[0].Count != 2 || again[0].Number == all[0].Number {
			t.Errorf("again came %v %+v", got, again)
		}
		if stale, _ := c.Answer(answer(Done, all...)); len(stale) != 2 {
			t.Errorf("stale are %v", stale)
		}
		if stale, _ := other.Answer(append(answer(Done, again...), answer(Done, again...)...)); len(stale) != 2 {
			t.Errorf("the second answers are stale: %v", stale)
		}
		if i := h.List()[0]; i.Messages != 0 || i.Bytes != 0 || i.Consumers != 2 {
			t.Errorf("left is %+v", i)
		}
	})
}

func TestAnAppThatDoesNotAnswerGetsMessagesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fresh(t, Options{})
		h.consume("a", 0, "/t").Close()
		c := h.boxes["a"].Consume(30*time.Second, 2)
		h.arrive("1", "2", "3")
		for range 5 {
			if got, _ := take(t, c); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("came %v", got)
			}
			time.Sleep(31 * time.Second)
		}
	})
}

func TestRetryComesAgainAfterItsDelayAndAStreamThatBreaksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fresh(t, Options{})
		c := h.consume("a", 0, "/t")
		h.arrive("1", "2")
		_, all := take(t, c)
		c.Answer([]Answer{{Delivery: all[0].Number, Verdict: Retry, Delay: time.Minute}})
		c.Close() // with 2 unanswered
		c = h.consume("a", 0)
		got, again := take(t, c)
		if !slices.Equal(got, []string{"2"}) || again[0].Count != 2 {
			t.Errorf("came %v %+v", got, again)
		}
		_, _, next, _ := c.Now()
		if wait := time.Until(next); wait != 30*time.Second { // the answer to 2 is due before
			t.Errorf("ask again in %v", wait)
		}
		c.Answer(answer(Done, again...))
		time.Sleep(time.Minute)
		if got, again = take(t, c); !slices.Equal(got, []string{"1"}) || again[0].Count != 2 {
			t.Errorf("then came %v %+v", got, again)
		}
	})
}

func TestAMessageThatIsDeliveredTooOftenIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fresh(t, Options{})
		c := h.consume("a", 2, "/t")
		h.arrive("poison", "good")
		for range 2 {
			_, all := take(t, c)
			c.Answer(answer(Retry, all[0]))
			c.Answer(answer(Done, all[1:]...))
			h.Tick(time.Now())
			h = h.again(Options{}) // the count outlives the sidecar
			c = h.consume("a", 0)
		}
		if got, _ := take(t, c); len(got) != 0 {
			t.Errorf("it came again: %v", got)
		}
		if got, _ := take(t, h.consume("a~dead", 0)); !slices.Equal(got, []string{"poison"}) {
			// The move happened in the Tick before the last restart.
			t.Errorf("the dead letters are %v", got)
		}
	})
}

func TestADeliveryThatTheEndOfTheSidecarCutsShortIsNotCounted(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 1, "/t")
	h.arrive("1")
	take(t, c)
	c.CutShort()
	h.Tick(time.Now())
	h = h.again(Options{})
	if got, all := take(t, h.consume("a", 0)); len(got) != 1 || all[0].Count != 1 {
		t.Errorf("came %v %+v", got, all)
	}
}

func TestWhatWasDeliveredTooOftenDoesNotComeAgainAfterARestart(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 1, "/t")
	h.arrive("1", "2")
	take(t, c)
	c.Close()
	h = h.again(Options{}) // before a Tick
	if got, _ := take(t, h.consume("a", 0)); len(got) != 0 {
		t.Errorf("came %v", got)
	}
	if l := h.Tick(time.Now()); l.Dead != 2 {
		t.Errorf("losses %+v", l)
	}
	if got, _ := take(t, h.consume("a~dead", 0)); len(got) != 2 {
		t.Errorf("the dead letters are %v", got)
	}
}

func TestAFullInboxDropsItsOldestAndSaysSo(t *testing.T) {
	h := fresh(t, Options{MaxMessages: 3})
	c := h.consume("a", 0, "/t")
	h.arrive("1")
	take(t, c) // with the app
	h.arrive("2", "3", "4", "5")
	batch, _, _, err := c.Now()
	if err != nil || batch.Missed != 2 || len(batch.Deliveries) != 2 || string(batch.Deliveries[0].Message.Payload) != "4" {
		t.Errorf("batch %+v, %v", batch, err)
	}
	if l := h.Tick(time.Now()); l.Full != 2 || l.Topic != "/t" {
		t.Errorf("losses %+v", l)
	}
	h = h.again(Options{})
	if got, _ := take(t, h.consume("a", 0)); !slices.Equal(got, []string{"1", "4", "5"}) {
		t.Errorf("on disk are %v", got)
	}
}

func TestMessagesThatArePutOffMakeRoomToo(t *testing.T) {
	h := fresh(t, Options{MaxMessages: 3})
	c := h.consume("a", 0, "/t")
	for i := range 6 {
		h.arrive(fmt.Sprint(i))
		_, all := take(t, c)
		for _, d := range all {
			c.Answer([]Answer{{Delivery: d.Number, Verdict: Retry, Delay: time.Hour}})
		}
	}
	if i := h.List()[0]; i.Messages != 3 {
		t.Errorf("the inbox has %d messages", i.Messages)
	}
	if l := h.Tick(time.Now()); l.Full != 3 {
		t.Errorf("losses %+v", l)
	}
}

func TestADiskThatIsFullTakesNoMessageAndLosesNone(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 0, "/t")
	h.arrive("1")
	_, all := take(t, c)
	h.disk.full.Store(true)
	if err := h.Arrive([]message.Incoming{{Topic: "/t", Payload: []byte("2")}}); !errors.Is(err, statedir.ErrDiskFull) {
		t.Errorf("Arrive: %v", err)
	}
	if stale, settled := c.Answer(answer(Done, all...)); len(stale)+len(settled) != 0 {
		t.Errorf("stale %v, settled %v", stale, settled)
	}
	h.disk.full.Store(false)
	h.arrive("2")
	h.Tick(time.Now())
	h = h.again(Options{})
	if got, _ := take(t, h.consume("a", 0)); !slices.Equal(got, []string{"2"}) {
		t.Errorf("left are %v", got)
	}
}

func TestEveryInboxThatMatchesGetsTheMessage(t *testing.T) {
	h := fresh(t, Options{})
	a, b, c := h.consume("a", 0, "/t"), h.consume("b", 0, "/+"), h.consume("c", 0, "/u")
	h.arrive("1")
	for c, want := range map[*Consumer]int{a: 1, b: 1, c: 0} {
		if got, _ := take(t, c); len(got) != want {
			t.Errorf("got %v, want %d", got, want)
		}
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	h := fresh(t, Options{})
	if _, err := h.Make("a", Settings{}, false); !errors.Is(err, ErrUnknown) {
		t.Errorf("without filters: %v", err)
	}
	c := h.consume("a", 0, "/t")
	if _, err := h.Make("a", Settings{Filters: []string{"/u"}}, false); !errors.Is(err, ErrConflict) {
		t.Errorf("with others: %v", err)
	}
	if _, err := h.Make("a", Settings{Filters: []string{"/u"}}, true); err != nil || !h.Wants("/u") || h.Wants("/t") {
		t.Errorf("replaced: %v", err)
	}
	if err := h.Arrive([]message.Incoming{{Topic: "/u"}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Delete("a", false); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("Delete: %v", err)
	}
	if err := h.Delete("a", true); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := c.Now(); !errors.Is(err, ErrUnknown) {
		t.Errorf("of a deleted inbox: %v", err)
	}
	for i := range maxBoxes {
		h.consume(fmt.Sprint(i), 0, "/t")
	}
	if _, err := h.Make("more", Settings{Filters: []string{"/t"}}, false); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if err := h.Drop(); err != nil || !h.Empty() {
		t.Errorf("Drop: %v", err)
	}
	if ids, err := Stored(h.disk); err != nil || len(ids) != 0 {
		t.Errorf("stored of %v, %v", ids, err)
	}
}

func TestAMessageThatArrivesDoesNotWaitForTheDisk(t *testing.T) {
	h := fresh(t, Options{})
	h.consume("a", 0, "/t")
	asked := make(chan bool, 1)
	h.disk.before = func() {
		go func() { asked <- h.Wants("/t") }()
		select {
		case wants := <-asked:
			if !wants {
				t.Error("it is not wanted")
			}
		case <-time.After(5 * time.Second):
			t.Error("it waits")
			go func() { <-asked }()
		}
	}
	h.consume("b", 0, "/u")
}

func TestNothingOfAForgottenDeviceIsWrittenLater(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 0, "/t")
	h.arrive("1")
	_, all := take(t, c)
	dropped := make(chan error)
	h.disk.before = func() {
		go func() { dropped <- h.Drop() }()
		time.Sleep(50 * time.Millisecond) // it would have dropped all by now
	}
	c.Answer(answer(Retry, all...))
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	if _, err := h.Make("a", Settings{Filters: []string{"/t"}}, false); !errors.Is(err, ErrUnknown) {
		t.Errorf("Make: %v", err)
	}
	if left, err := h.disk.ListQueues(""); err != nil || len(left) != 0 {
		t.Errorf("left are %q, %v", left, err)
	}
}

func TestPayloadsThatDoNotFitIntoMemoryAreReadWhenTheirTurnComes(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 0, "/t")
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("%03d", i)+string(make([]byte, 100_000)))
	}
	h.arrive(want...)
	if b := h.boxes["a"]; b.cached > cacheBytes {
		t.Errorf("%d bytes stay in memory", b.cached)
	}
	got, all := take(t, c)
	if !slices.Equal(got, want) {
		t.Errorf("%d came out, or otherwise", len(got))
	}
	c.Answer(answer(Done, all...))
	if b := h.boxes["a"]; b.cached != 0 || b.bytes != 0 {
		t.Errorf("left are %d bytes in memory, %d on disk", b.cached, b.bytes)
	}
}

func FuzzInboxRecord(f *testing.F) {
	_, record, err := newEntry(1, message.Incoming{Topic: "/t", Payload: []byte("x"), QoS: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{2, '{', '}'})
	f.Fuzz(func(t *testing.T, record []byte) {
		m, err := decode(record)
		if err != nil {
			return
		}
		_, again, err := newEntry(1, m)
		if err != nil {
			return // a year that JSON does not have: the only thing that can be read and not written
		}
		if back, err := decode(again); err != nil || back.Topic != m.Topic || back.QoS != m.QoS || !bytes.Equal(back.Payload, m.Payload) {
			t.Errorf("%+v became %+v, %v", m, back, err)
		}
	})
}

func TestNoNumberIsGivenTwice(t *testing.T) {
	h := fresh(t, Options{})
	c := h.consume("a", 0, "/t")
	for want := uint64(1); want < 8; want += 2 {
		h.arrive("1", "2")
		_, all := take(t, c)
		if len(all) != 2 || all[0].Sequence != want || all[1].Sequence != want+1 {
			t.Errorf("instead of %d and %d came %+v", want, want+1, all)
		}
		slices.Reverse(all)
		c.Answer(answer(Done, all[0]))
		c.Answer(answer(Done, all[1]))
		h = h.again(Options{})
		if i := h.List()[0]; i.Messages != 0 || i.Bytes != 0 {
			t.Errorf("after a restart there is %+v", i)
		}
		c = h.consume("a", 0)
	}
	h.Tick(time.Now())
	left := 0
	if err := h.disk.ScanQueue(queueOf(dev, "a"), func(uint64, []byte) error { left++; return nil }); err != nil || left != 2 {
		t.Errorf("%d records are left beside the filters, %v", left-1, err)
	}
}
