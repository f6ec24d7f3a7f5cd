package message

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
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
