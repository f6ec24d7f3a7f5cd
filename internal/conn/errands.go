package conn

import (
	"sync"
	"time"
)

// lingering is how long the goroutine of errands stays when there are none. Most devices are silent for longer, and a goroutine for each
// of thousands is memory; where messages follow each other it need not be started for each.
const lingering = time.Second

// errands are run in their order by one goroutine, which is there while there are some.
type errands[T any] struct {
	// run is the goroutine: it takes batches from next until one is empty. A batch is its own until it calls next again.
	run func(next func() []T)

	work sync.WaitGroup

	mu    sync.Mutex
	queue []T
	there bool // the goroutine is
	last  bool // no more will be added
	bell  chan struct{}
}

// add adds one. It never waits.
func (e *errands[T]) add(errand T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, errand)
	if e.there {
		e.ring()
		return
	}
	e.there, e.bell = true, make(chan struct{}, 1)
	e.work.Go(e.live)
}

// live is one life of the goroutine.
func (e *errands[T]) live() {
	var taken []T
	idle := time.NewTimer(lingering)
	defer idle.Stop()
	e.run(func() []T {
		for late := false; ; {
			clear(taken)
			e.mu.Lock()
			e.queue, taken = taken[:0], e.queue
			bell := e.bell
			if len(taken) == 0 && (late || e.last) {
				e.there, e.queue, e.bell = false, nil, nil
				e.mu.Unlock()
				return nil
			}
			e.mu.Unlock()
			if len(taken) > 0 {
				return taken
			}
			idle.Reset(lingering)
			select {
			case <-bell:
			case <-idle.C:
				late = true
			}
		}
	})
}

// ring wakes the goroutine. mu is held.
func (e *errands[T]) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// finish waits until all have been run. None is added from now on.
func (e *errands[T]) finish() {
	e.mu.Lock()
	e.last = true
	if e.there {
		e.ring()
	}
	e.mu.Unlock()
	e.work.Wait()
}
