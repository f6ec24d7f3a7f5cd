package event

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// memory is a journal in memory, which fails and hangs when told to.
type memory struct {
	keep int // records; 0 is any number

	mu      sync.Mutex
	records map[uint64][]byte
	last    uint64
	broken  error         // what AppendEvents and ReadEvents return
	before  chan struct{} // AppendEvents waits for it to be closed before it stores
	after   chan struct{} // and for this before it returns
}

func newMemory() *memory { return &memory{records: map[uint64][]byte{}} }

func (m *memory) Epoch() string { return "e0" }

func (m *memory) LastSequence() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

func (m *memory) AppendEvents(first uint64, records [][]byte) error {
	m.mu.Lock()
	before, after := m.before, m.after
	m.mu.Unlock()
	wait(before)
	defer wait(after)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	if first <= m.last {
		return fmt.Errorf("sequence %d cannot follow %d", first, m.last)
	}
	for i, record := range records {
		m.last = first + uint64(i)
		m.records[m.last] = record
		if m.keep > 0 {
			delete(m.records, m.last-uint64(m.keep))
		}
	}
	return nil
}

func (m *memory) ReadEvents(after uint64, limit int) (first uint64, records [][]byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return 0, nil, m.broken
	}
	for n := after + 1; n <= m.last && len(records) < limit; n++ {
		record, kept := m.records[n]
		switch {
		case kept && first == 0:
			first = n
		case !kept && first != 0:
			return first, records, nil
		}
		if kept {
			records = append(records, record)
		}
	}
	return first, records, nil
}

// set changes how the journal behaves from now on.
func (m *memory) set(change func(m *memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func wait(gate chan struct{}) {
	if gate != nil {
		<-gate
	}
}

// run makes a log over a journal and runs it until stop is called, or the test ends.
func run(t *testing.T, j Journal) (l *Log, stop func()) {
	t.Helper()
	l, err := New(j, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return l, stop
}

func openStore(t *testing.T, dir string, options ...store.Option) *store.DB {
	t.Helper()
	db, err := store.Open(dir, quiet, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func dev(name string) device.ID { return device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: name} }

// tell publishes attempts from..to of a device, whose status tells the last of them.
func tell(l *Log, name string, from, to int) {
	for n := from; n <= to; n++ {
		l.Publish(Attempting{Attempt: n}, Status{Device: dev(name), State: Connecting, Attempt: n})
	}
}

// untilShown waits until readers see the event with this number.
func untilShown(t *testing.T, l *Log, sequence uint64) {
	t.Helper()
	for {
		l.mu.Lock()
		head, bell := l.head, l.bell
		l.mu.Unlock()
		if head >= sequence {
			return
		}
		select {
		case <-bell:
		case <-time.After(time.Minute):
			t.Fatalf("event %d was not shown; the head is %d", sequence, head)
		}
	}
}

func take(t *testing.T, r *Reader) Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := r.Take(ctx)
	if err != nil {
		t.Fatalf("nothing to take after %d: %v", r.at, err)
	}
	return e
}

// takeBody takes an entry whose body must be of type B.
func takeBody[B Body](t *testing.T, r *Reader) (B, Cursor) {
	t.Helper()
	e := take(t, r)
	body, ok := e.Event.Body.(B)
	if !ok {
		t.Fatalf("got %T %+v, want %T", e.Event.Body, e.Event.Body, body)
	}
	return body, e.Cursor
}

// takeAttempts takes the events from..to, which must be consecutive in the log and in their bodies.
func takeAttempts(t *testing.T, r *Reader, from, to int) (last Cursor) {
	t.Helper()
	for n := from; n <= to; n++ {
		body, cursor := takeBody[Attempting](t, r)
		if body.Attempt != n {
			t.Fatalf("got attempt %d, want %d", body.Attempt, n)
		}
		if last.Sequence != 0 && cursor.Sequence != last.Sequence+1 {
			t.Fatalf("attempt %d has number %d after %d", n, cursor.Sequence, last.Sequence)
		}
		last = cursor
	}
	return last
}

// takeGap takes a gap of count events and the snapshot that follows.
func takeGap(t *testing.T, r *Reader, count uint64) Cursor {
	t.Helper()
	gap, cursor := takeBody[Gap](t, r)
	if gap.Count != count || gap.Detail == "" {
		t.Fatalf("got %+v, want a gap of %d", gap, count)
	}
	if _, at := takeBody[Snapshot](t, r); at != cursor {
		t.Fatalf("the snapshot after the gap is at %v, the gap at %v", at, cursor)
	}
	return cursor
}

// takeNothing checks that a reader has nothing more.
func takeNothing(t *testing.T, r *Reader) {
	t.Helper()
	if bell, err := r.fill(); err != nil || bell == nil || len(r.buffer) > 0 {
		t.Fatalf("there is more: %+v, error %v", r.buffer, err)
	}
}
