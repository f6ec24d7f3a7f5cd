package message

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAMailboxLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox()
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for i := range 1000 {
					m.Put(Receipt{ID: uint64(w*1000 + i)})
				}
			})
		}
		go func() {
			writers.Wait()
			m.Close()
		}()
		seen := map[uint64]bool{}
		for {
			taken, err := m.Take(t.Context())
			if errors.Is(err, ErrMailboxClosed) {
				break
			}
			for _, r := range taken {
				if seen[r.ID] {
					t.Errorf("%d came twice", r.ID)
				}
				seen[r.ID] = true
			}
		}
		if len(seen) != 8000 {
			t.Errorf("%d of 8000 came", len(seen))
		}
	})
}

func TestWhatWasPutBeforeCloseIsTakenAfterIt(t *testing.T) {
	m := NewMailbox()
	m.Put(Receipt{ID: 1}, Receipt{ID: 2})
	m.Close()
	m.Put(Receipt{ID: 3})
	if taken, err := m.Take(t.Context()); err != nil || len(taken) != 2 {
		t.Errorf("%v, %v", taken, err)
	}
	if _, err := m.Take(t.Context()); !errors.Is(err, ErrMailboxClosed) {
		t.Errorf("then: %v", err)
	}
}

func TestTakeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewMailbox().Take(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMoreWaitsForWhatIsWantedButNotForLong(t *testing.T) {
	for name, test := range map[string]struct {
		then  func(*Mailbox)
		want  int
		got   int
		after time.Duration
	}{
		"there are enough":    {func(m *Mailbox) { m.Put(Receipt{}, Receipt{}) }, 3, 3, time.Millisecond},
		"there are too few":   {func(m *Mailbox) { m.Put(Receipt{}) }, 3, 2, time.Second},
		"nothing comes":       {func(*Mailbox) {}, 3, 1, time.Second},
		"nothing is to come":  {func(*Mailbox) {}, 1, 1, 0},
		"it is closed":        {func(m *Mailbox) { m.Put(Receipt{}); m.Close() }, 3, 2, time.Millisecond},
		"there are even more": {func(m *Mailbox) { m.Put(make([]Receipt, 9)...) }, 3, 10, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMailbox()
				m.Put(Receipt{})
				taken, _ := m.Take(t.Context())
				var writer sync.WaitGroup
				defer writer.Wait()
				writer.Go(func() {
					time.Sleep(time.Millisecond)
					test.then(m)
				})
				began := time.Now()
				if taken = m.More(t.Context(), taken, test.want, time.Second); len(taken) != test.got || time.Since(began) != test.after {
					t.Errorf("%d after %s", len(taken), time.Since(began))
				}
			})
		})
	}
}

func TestMoreEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if taken := NewMailbox().More(ctx, []Receipt{{ID: 1}}, 2, time.Hour); len(taken) != 1 {
		t.Errorf("%v", taken)
	}
}
