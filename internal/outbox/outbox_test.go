package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// house is an outbox over a real database, which can be told to fail.
type house struct {
	*Box
	t    *testing.T
	disk *disk
	box  *message.Mailbox
}

type disk struct {
	*store.DB
	mu     sync.Mutex
	broken error
	slow   chan struct{} // the next change waits until it is closed
	begun  chan struct{} // closed when that change has begun
	before func()        // called once, by the next change
}

// meanwhile does something while the next change is on its way to the disk.
func (d *disk) meanwhile(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = do
}

func (d *disk) breakWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

func (d *disk) ChangeQueue(c []message.Change) error {
	d.mu.Lock()
	err, slow, begun, before := d.broken, d.slow, d.begun, d.before
	d.slow, d.before = nil, nil
	d.mu.Unlock()
	if slow != nil {
		close(begun)
		<-slow
	}
	if before != nil {
		before()
	}
	if err != nil {
		return err
	}
	return d.DB.ChangeQueue(c)
}

func open(t *testing.T, dir string, o Options) *house {
	t.Helper()
	db, err := store.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	h := &house{t: t, disk: &disk{DB: db}, box: message.NewMailbox()}
	if h.Box, err = Open(dev, h.disk, o, func() {}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return h
}

func fresh(t *testing.T, o Options) (*house, string) {
	dir := filepath.Join(t.TempDir(), "state")
	return open(t, dir, o), dir
}

// again is the outbox after a restart.
func (h *house) again(dir string, o Options) *house {
	h.t.Helper()
	if err := h.disk.Close(); err != nil {
		h.t.Fatal(err)
	}
	return open(h.t, dir, o)
}

func msg(id uint64, change ...func(*message.Outgoing)) message.Outgoing {
	m := message.Outgoing{ID: id, Topic: "/t", Payload: fmt.Append(nil, id), QoS: 1, Stored: true}
	for _, c := range change {
		c(&m)
	}
	return m
}

func priority(p byte) func(*message.Outgoing) { return func(m *message.Outgoing) { m.Priority = p } }

func ttl(d time.Duration) func(*message.Outgoing) { return func(m *message.Outgoing) { m.TTL = d } }

func key(k string) func(*message.Outgoing) { return func(m *message.Outgoing) { m.Key = k } }

func payload(text string) func(*message.Outgoing) {
	return func(m *message.Outgoing) { m.Payload = []byte(text) }
}

// put takes messages and returns the receipts that came at once.
func (h *house) put(all ...message.Outgoing) []message.Receipt {
	h.Put(h.box, all)
	return h.box.Now()
}

// send takes all that waits, and returns the payloads and the entries.
func (h *house) send() (payloads []string, entries []*Entry) {
	for {
		e, m, ok := h.Next()
		if !ok {
			return payloads, entries
		}
		payloads, entries = append(payloads, string(m.Payload)), append(entries, e)
	}
}

func TestWhatIsStoredIsSentInOrderAlsoAfterARestart(t *testing.T) {
	h, dir := fresh(t, Options{})
	for _, r := range h.put(msg(1), msg(2), msg(3, priority(5)), msg(4)) {
		if r.Outcome != message.Stored || r.Sequence != r.ID {
			t.Errorf("receipt %+v", r)
		}
	}
	want := []string{"3", "1", "2", "4"}
	got, entries := h.send()
	if !slices.Equal(got, want) {
		t.Errorf("sent %v", got)
	}
	for _, e := range entries { // the link was lost
		h.Return(e)
	}
	if got, _ = h.send(); !slices.Equal(got, want) {
		t.Errorf("sent again %v", got)
	}
	h = h.again(dir, Options{})
	if got, entries = h.send(); !slices.Equal(got, want) {
		t.Errorf("after a restart %v", got)
	}
	h.Settle(entries[:2])
	h = h.again(dir, Options{})
	if got, _ = h.send(); !slices.Equal(got, []string{"2", "4"}) {
		t.Errorf("after another restart %v", got)
	}
	if r := h.put(msg(9)); r[0].Sequence != 5 {
		t.Errorf("numbers go on with %d", r[0].Sequence)
	}
}

func TestAnAcknowledgementIsAReceiptAndNews(t *testing.T) {
	h, _ := fresh(t, Options{})
	h.put(msg(1), msg(2), msg(3), msg(4, func(m *message.Outgoing) { m.QoS = 0 }))
	_, entries := h.send()
	h.Settle([]*Entry{entries[2], entries[0], entries[3]})
	for i, want := range []message.Receipt{{ID: 3, Outcome: message.Acknowledged}, {ID: 1, Outcome: message.Acknowledged}, {ID: 4, Outcome: message.Sent}} {
		if got := h.box.Now(); i == 0 && (len(got) != 3 || got[0].ID != want.ID || got[2].Outcome != message.Sent) {
			t.Errorf("receipts %+v", got)
		}
	}
	told := h.Tick(time.Now())
	if len(told) != 2 || told[0].Count != 2 || !slices.Equal(told[0].Ranges, []Range{{1, 1}, {3, 3}}) || told[1].Outcome != message.Sent {
		t.Errorf("told %+v", told)
	}
	if s := h.Status(); s.Messages != 1 || s.Counters.Sent != 3 || s.Counters.Stored != 4 || s.Oldest.IsZero() {
		t.Errorf("status %+v", s)
	}
	if told := h.Tick(time.Now()); len(told) != 0 {
		t.Errorf("told twice %+v", told)
	}
}

func TestMessagesExpireWhileTheyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := fresh(t, Options{TTL: time.Hour})
		h.put(msg(1, ttl(time.Second)), msg(2, ttl(time.Minute)), msg(3))
		e, _, _ := h.Next() // under way: it does not expire
		time.Sleep(2 * time.Minute)
		if got, _ := h.send(); !slices.Equal(got, []string{"3"}) {
			t.Errorf("sent %v", got)
		}
		told := h.Tick(time.Now())
		if len(told) != 1 || told[0].Outcome != message.Expired || !errors.Is(told[0].Why, ErrExpired) || told[0].Ranges[0] != (Range{2, 2}) {
			t.Errorf("told %+v", told)
		}
		if r := h.box.Now(); len(r) != 1 || r[0].ID != 2 || r[0].Outcome != message.Expired {
			t.Errorf("receipts %+v", r)
		}
		h.Return(e)
		if told := h.Tick(time.Now()); len(told) != 1 || told[0].Ranges[0] != (Range{1, 1}) {
			t.Errorf("after its link was lost: %+v", told)
		}
		time.Sleep(2 * time.Hour)
		h = h.again(dir, Options{})
		if told := h.Tick(time.Now()); len(told) != 1 || told[0].Outcome != message.Expired {
			t.Errorf("after a restart %+v", told)
		}
	})
}

func TestAFullOutboxRefuses(t *testing.T) {
	h, _ := fresh(t, Options{MaxMessages: 2})
	if r := h.put(msg(1), msg(2), msg(3)); len(r) != 3 || !errors.Is(r[0].Err, ErrFull) || r[0].ID != 3 {
		t.Errorf("receipts %+v", r)
	}
	_, entries := h.send()
	h.Settle(entries)
	if r := h.put(msg(4)); r[len(r)-1].Outcome != message.Stored {
		t.Errorf("then %+v", r)
	}
	small, _ := fresh(t, Options{MaxBytes: 100, DropOldest: true})
	if r := small.put(msg(1, payload(string(make([]byte, 200))))); !errors.Is(r[0].Err, ErrFull) {
		t.Errorf("a message greater than the outbox: %+v", r)
	}
	if s := small.Status(); s.Counters.Refused != 1 || s.Messages != 0 || s.Bytes != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestOrTheOldestOfLeastWorthMakeRoom(t *testing.T) {
	h, dir := fresh(t, Options{MaxMessages: 3, DropOldest: true})
	h.put(msg(1, priority(1)), msg(2), msg(3))
	e, _, _ := h.Next() // 1 is under way
	for _, r := range h.put(msg(4), msg(5, priority(9))) {
		switch {
		case r.ID == 2 || r.ID == 3:
			if r.Outcome != message.Dropped || !errors.Is(r.Err, ErrFull) {
				t.Errorf("receipt %+v", r)
			}
		case r.Outcome != message.Stored:
			t.Errorf("receipt %+v", r)
		}
	}
	if told := h.Tick(time.Now()); len(told) != 1 || told[0].Outcome != message.Dropped || told[0].Ranges[0] != (Range{2, 3}) {
		t.Errorf("told %+v", told)
	}
	if r := h.put(msg(6, priority(9)), msg(7, priority(0))); !errors.Is(r[0].Err, ErrFull) && !errors.Is(r[1].Err, ErrFull) {
		t.Errorf("7 is worth less than all that wait: %+v", r)
	}
	h.Return(e)
	h = h.again(dir, Options{})
	if got, _ := h.send(); !slices.Equal(got, []string{"5", "6", "1"}) {
		t.Errorf("left are %v", got)
	}
}

func TestTwoWhoNeedRoomAtOnceDropOneEach(t *testing.T) {
	h, _ := fresh(t, Options{MaxMessages: 4, DropOldest: true})
	h.put(msg(1), msg(2), msg(3), msg(4))
	h.disk.meanwhile(func() { h.Put(h.box, []message.Outgoing{msg(6)}) })
	h.put(msg(5))
	if got, _ := h.send(); len(got) != 4 {
		t.Errorf("left are %v", got)
	}
	if s := h.Status(); s.Messages != 4 || s.Counters.Dropped != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestAKeyIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := fresh(t, Options{})
		h.put(msg(1, key("k"), payload("x")))
		r := h.put(msg(2, key("k"), payload("x")), msg(3, key("k"), payload("y")))
		if len(r) != 2 || r[0].Outcome != message.Stored || !r[0].Duplicate || r[0].Sequence != 1 || !errors.Is(r[1].Err, ErrKeyConflict) {
			t.Errorf("receipts %+v", r)
		}
		h = h.again(dir, Options{})
		if r := h.put(msg(4, key("k"), payload("x"))); !r[0].Duplicate || r[0].Sequence != 1 {
			t.Errorf("after a restart %+v", r)
		}
		got, entries := h.send()
		if len(got) != 1 {
			t.Errorf("sent %v", got)
		}
		h.Settle(entries)
		if r := h.box.Now(); len(r) != 1 || r[0].ID != 4 || r[0].Outcome != message.Acknowledged || !r[0].Duplicate {
			t.Errorf("the end: %+v", r)
		}
		h = h.again(dir, Options{})
		if r := h.put(msg(5, key("k"), payload("x"))); r[0].Outcome != message.Acknowledged || !r[0].Duplicate || r[0].Sequence != 1 {
			t.Errorf("after the end and a restart %+v", r)
		}
		time.Sleep(25 * time.Hour)
		h.Tick(time.Now())
		if r := h.put(msg(6, key("k"), payload("y"))); r[0].Outcome != message.Stored || r[0].Duplicate {
			t.Errorf("a day later %+v", r)
		}
	})
}

func TestTheReceiptOfTheEndIsTheLast(t *testing.T) {
	h, _ := fresh(t, Options{})
	h.put(msg(1, key("k"), payload("x")))
	_, entries := h.send()
	h.disk.meanwhile(func() { h.Settle(entries) })
	var outcomes []message.Outcome
	for _, r := range h.put(msg(2, key("k"), payload("x")), msg(3)) {
		if r.ID == 2 {
			outcomes = append(outcomes, r.Outcome)
		}
	}
	if !slices.Equal(outcomes, []message.Outcome{message.Stored, message.Acknowledged}) {
		t.Errorf("the receipts of the second are %v", outcomes)
	}
}

func TestADiskThatIsFullTakesNothingAndLosesNothing(t *testing.T) {
	h, dir := fresh(t, Options{MaxMessages: 2, DropOldest: true})
	h.put(msg(1), msg(2))
	h.disk.breakWith(statedir.ErrDiskFull)
	if r := h.put(msg(3, key("k"))); len(r) != 1 || !errors.Is(r[0].Err, statedir.ErrDiskFull) {
		t.Errorf("receipts %+v", r)
	}
	for i := range uint64(100) {
		h.put(msg(100 + i))
	}
	if n := len(h.levels[0].entries); n != 2 {
		t.Errorf("what was not taken stays in memory: %d entries", n)
	}
	got, entries := h.send() // what was to make room is there still
	if !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("sent %v", got)
	}
	h.Settle(entries[:1])
	if r := h.box.Now(); len(r) != 1 || r[0].Outcome != message.Acknowledged {
		t.Errorf("receipts %+v", r)
	}
	h.disk.breakWith(nil)
	h.Tick(time.Now()) // writes down what it could not
	h = h.again(dir, Options{})
	if got, _ := h.send(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("left are %v", got)
	}
	if r := h.put(msg(4, key("k"))); r[0].Outcome != message.Stored || r[0].Duplicate {
		t.Errorf("the key of what was not taken: %+v", r)
	}
}

func TestPayloadsThatDoNotFitIntoMemoryAreReadWhenTheirTurnComes(t *testing.T) {
	h, _ := fresh(t, Options{})
	var want []string
	var all []message.Outgoing
	for i := range 40 {
		text := fmt.Sprint(i) + string(make([]byte, 100_000))
		want, all = append(want, text), append(all, msg(uint64(i), payload(text)))
	}
	h.put(all...)
	if h.cached > cacheBytes {
		t.Errorf("%d bytes stay in memory", h.cached)
	}
	got, entries := h.send()
	if !slices.Equal(got, want) {
		t.Error("they come out otherwise")
	}
	h.Settle(entries)
	if h.cached != 0 || h.bytes != 0 || h.messages != 0 {
		t.Errorf("left are %d bytes in memory, %d on disk, %d messages", h.cached, h.bytes, h.messages)
	}
}

func TestADamagedRecordIsDroppedAndTold(t *testing.T) {
	h, dir := fresh(t, Options{})
	h.put(msg(1), msg(2))
	if err := h.disk.DB.ChangeQueue([]message.Change{{Queue: Queue(dev), Sequence: 1, Record: []byte{200, 1}}}); err != nil {
		t.Fatal(err)
	}
	h = h.again(dir, Options{})
	if got, _ := h.send(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("sent %v", got)
	}
	if told := h.Tick(time.Now()); len(told) != 1 || !errors.Is(told[0].Why, ErrUnreadable) {
		t.Errorf("told %+v", told)
	}
}

func TestAForgottenDeviceTakesItsMessagesWithIt(t *testing.T) {
	h, dir := fresh(t, Options{})
	h.put(msg(1), msg(2, key("k")))
	told, err := h.Drop()
	if err != nil || len(told) != 1 || told[0].Count != 2 || !errors.Is(told[0].Why, ErrForgotten) {
		t.Errorf("told %+v, %v", told, err)
	}
	if r := h.box.Now(); len(r) != 2 || r[0].Outcome != message.Dropped {
		t.Errorf("receipts %+v", r)
	}
	if r := h.put(msg(3)); !errors.Is(r[0].Err, ErrForgotten) {
		t.Errorf("then %+v", r)
	}
	h = h.again(dir, Options{})
	if s := h.Status(); s.Messages != 0 {
		t.Errorf("left are %d", s.Messages)
	}
	if ids, err := Stored(h.disk); err != nil || len(ids) != 0 {
		t.Errorf("devices %v, %v", ids, err)
	}
}

func TestNothingOfAForgottenDeviceIsWrittenLater(t *testing.T) {
	for name, change := range map[string]func(*house, []*Entry){
		"a message": func(h *house, _ []*Entry) { h.Put(h.box, []message.Outgoing{msg(2)}) },
		"a key":     func(h *house, entries []*Entry) { h.Settle(entries) },
	} {
		h, dir := fresh(t, Options{})
		h.put(msg(1, key("k")))
		_, entries := h.send()
		dropped := make(chan error)
		h.disk.meanwhile(func() {
			go func() {
				_, err := h.Drop()
				dropped <- err
			}()
			time.Sleep(50 * time.Millisecond) // it would have dropped all by now
		})
		change(h, entries)
		if err := <-dropped; err != nil {
			t.Fatal(err)
		}
		h = h.again(dir, Options{})
		if left, err := h.disk.ListQueues(""); err != nil || len(left) != 0 {
			t.Errorf("%s: left are %q, %v", name, left, err)
		}
	}
}

func TestManyCallersPutAndNothingIsLost(t *testing.T) {
	h, dir := fresh(t, Options{})
	var callers sync.WaitGroup
	for c := range 16 {
		callers.Go(func() {
			box := message.NewMailbox()
			for i := range 25 {
				h.Put(box, []message.Outgoing{msg(uint64(c*25 + i))})
				for _, r := range box.Now() {
					if r.Outcome != message.Stored {
						t.Errorf("receipt %+v", r)
					}
				}
			}
		})
	}
	callers.Wait()
	h = h.again(dir, Options{})
	got, _ := h.send()
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 400 {
		t.Errorf("%d of 400 messages", len(got))
	}
}

func FuzzStoredRecord(f *testing.F) {
	_, record, err := newEntry(1, msg(1, key("k"), ttl(time.Hour), priority(3)), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{})
	f.Add([]byte{2, '{', '}', 1, 2, 3})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := readEntry(1, record)
		m, err2 := decode(record)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("readEntry: %v, decode: %v", err, err2)
		}
		if err == nil && (e.priority > message.MaxPriority || e.qos > 1 || m.QoS != e.qos || m.Priority != e.priority || len(m.Payload) > len(record)) {
			t.Errorf("read %+v as %+v", m, e)
		}
	})
}

func TestWhatIsOnDiskSoonerIsNotSentSooner(t *testing.T) {
	h, _ := fresh(t, Options{})
	slow, begun := make(chan struct{}), make(chan struct{})
	h.disk.slow, h.disk.begun = slow, begun
	var first sync.WaitGroup
	first.Go(func() { h.Put(h.box, []message.Outgoing{msg(1), msg(2)}) })
	<-begun
	if r := h.put(msg(3), msg(4, priority(1))); len(r) != 2 || r[0].Outcome != message.Stored || r[0].Sequence != 3 {
		t.Errorf("the second caller was told %+v", r)
	}
	if got, _ := h.send(); !slices.Equal(got, []string{"4"}) { // of another priority
		t.Errorf("before 1 and 2 are on disk were sent %v", got)
	}
	close(slow)
	first.Wait()
	if got, _ := h.send(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("then were sent %v", got)
	}
}

func TestWhatTheDiskRefusesHoldsUpNothing(t *testing.T) {
	h, _ := fresh(t, Options{})
	slow, begun := make(chan struct{}), make(chan struct{})
	h.disk.slow, h.disk.begun, h.disk.broken = slow, begun, statedir.ErrDiskFull
	var first sync.WaitGroup
	first.Go(func() { h.Put(h.box, []message.Outgoing{msg(1)}) })
	<-begun
	h.disk.breakWith(nil)
	h.put(msg(2))
	close(slow)
	first.Wait()
	if got, _ := h.send(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("sent %v", got)
	}
}

func TestNoNumberIsGivenTwice(t *testing.T) {
	h, dir := fresh(t, Options{})
	for want := uint64(1); want < 8; want += 2 {
		r := h.put(msg(1), msg(2))
		if len(r) != 2 || r[0].Sequence != want || r[1].Sequence != want+1 {
			t.Errorf("instead of %d and %d came %+v", want, want+1, r)
		}
		_, entries := h.send()
		slices.Reverse(entries)
		for _, e := range entries {
			h.Settle([]*Entry{e})
		}
		h = h.again(dir, Options{})
		if s := h.Status(); s.Messages != 0 || s.Bytes != 0 {
			t.Errorf("after a restart there is %+v", s)
		}
	}
	h.Tick(time.Now())
	left := 0
	if err := h.disk.ScanQueue(Queue(dev), func(uint64, []byte) error { left++; return nil }); err != nil || left != 1 {
		t.Errorf("%d records are left, %v", left, err)
	}
}

func TestATraceIsKeptWithItsMessage(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	h, dir := fresh(t, Options{})
	before := time.Now()
	h.put(msg(1, func(m *message.Outgoing) { m.Trace = &message.Trace{Parent: parent, Since: before.Add(-time.Hour)} }), msg(2))
	look := func(when string) *Entry {
		t.Helper()
		e, m, _ := h.Next()
		if m.Trace == nil || m.Trace.Parent != parent || m.Trace.Since.Before(before.Add(-time.Second)) {
			t.Errorf("%s its trace is %+v", when, m.Trace)
		}
		return e
	}
	h.Return(look("at first"))
	look("after a loss of the link")
	h = h.again(dir, Options{})
	look("after a restart")
	if _, m, _ := h.Next(); m.Trace != nil {
		t.Errorf("the other has %+v", m.Trace)
	}
}

func TestADiskThatFailsForLongIsOneLine(t *testing.T) {
	h, _ := fresh(t, Options{})
	var log bytes.Buffer
	h.Box.log = slog.New(slog.NewTextHandler(&log, nil))
	h.put(msg(1), msg(2))
	_, entries := h.send()
	h.disk.breakWith(errors.New("input/output error"))
	h.Settle(entries)
	for range 5 {
		h.Tick(time.Now())
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "input/output error") {
		t.Errorf("the log says %s", got)
	}
	h.disk.breakWith(nil)
	h.Tick(time.Now())
	h.Tick(time.Now())
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "again") {
		t.Errorf("afterwards the log says %s", got)
	}
}
