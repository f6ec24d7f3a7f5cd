package conn

import "sync"

// linkEnd is the end of a link: it comes once, and what came first is why.
type linkEnd struct {
	mu      sync.Mutex
	failure *Failure
	done    chan struct{}
	tell    func() // may be nil
}

func (e *linkEnd) end(f *Failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure != nil {
		return
	}
	e.failure = f
	close(e.done)
	if e.tell != nil {
		e.tell()
	}
}

func (e *linkEnd) Done() <-chan struct{} { return e.done }

func (e *linkEnd) WhenDone(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tell = f; e.failure != nil {
		f()
	}
}

func (e *linkEnd) Failure() *Failure {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}
