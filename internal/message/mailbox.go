package message

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Mailbox collects receipts for one reader. Whoever puts one in never waits: there are as many receipts as messages were
// handed in, and it is the reader who bounds those.
type Mailbox struct {
	mu     sync.Mutex
	full   []Receipt
	bell   chan struct{} // capacity 1; carries no data
	closed bool
}

// ErrMailboxClosed ends Take when nothing more will come.
var ErrMailboxClosed = errors.New("no more receipts will come")

// NewMailbox makes an empty one.
func NewMailbox() *Mailbox { return &Mailbox{bell: make(chan struct{}, 1)} }

// Put adds receipts. After Close they are dropped: their reader is gone.
func (m *Mailbox) Put(receipts ...Receipt) {
	m.mu.Lock()
	if !m.closed {
		m.full = append(m.full, receipts...)
	}
	m.mu.Unlock()
	m.ring()
}

// Take returns all receipts that are there, waiting for the first.
func (m *Mailbox) Take(ctx context.Context) ([]Receipt, error) {
	for {
		m.mu.Lock()
		taken, closed := m.full, m.closed
		m.full = nil
		m.mu.Unlock()
		switch {
		case len(taken) > 0:
			return taken, nil
		case closed:
			return nil, ErrMailboxClosed
		}
		select {
		case <-m.bell:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// More waits until there are as many receipts as wanted beside those taken, but no longer than so long, and returns all.
func (m *Mailbox) More(ctx context.Context, taken []Receipt, want int, within time.Duration) []Receipt {
	late := time.NewTimer(within)
	defer late.Stop()
	for waits := true; ; {
		taken = append(taken, m.Now()...)
		if !waits || len(taken) >= want || m.Closed() {
			return taken
		}
		select {
		case <-m.bell:
		case <-late.C:
			waits = false
		case <-ctx.Done():
			waits = false
		}
	}
}

// Bell rings when Now may have something, for those who wait for more than receipts.
func (m *Mailbox) Bell() <-chan struct{} { return m.bell }

// Close says that nothing more will come, or that nobody will take it.
func (m *Mailbox) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.ring()
}

// Closed reports whether what is put in is dropped.
func (m *Mailbox) Closed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *Mailbox) ring() {
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

// Now returns the receipts that are there, without waiting.
func (m *Mailbox) Now() []Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.full
	m.full = nil
	return taken
}
