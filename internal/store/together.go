package store

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// job is one caller's share of a transaction that many share.
type job struct {
	fn      func(*bbolt.Tx) error
	changes int
	err     error
	done    chan struct{} // closed when err is the answer
}

// For how long a transaction waits for callers who are likely to join it: half of what the last one took, within these bounds. On a fast
// disk it is the callers' way there and back that takes time.
const (
	leastPatience = time.Millisecond
	mostPatience  = 5 * time.Millisecond
)

// joining is the callers whose changes will be written together. The first of them leads: it waits for the database and does what all
// have asked for by then, while the others wait for it alone.
type joining struct {
	mu       sync.Mutex // taken under DB.mu, not the other way round, and never for long
	jobs     []*job
	expected int           // how many are likely to join: those who were answered last, and those who came meanwhile
	took     time.Duration // the last transaction
	all      chan struct{} // closed when as many have come; nil while nobody waits for that
}

// join adds a caller, and reports whether it leads.
func (w *joining) join(j *job) (leads bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, j)
	if w.all != nil && len(w.jobs) >= w.expected {
		close(w.all)
		w.all = nil
	}
	return len(w.jobs) == 1
}

// gather waits until those have joined who are likely to, for a part of the time that they would otherwise wait for: callers who have
// just been answered come back at once if they have more, and would find the next transaction under way. One who comes alone waits for
// nobody. What it returns is to be done now; the next to join leads the next.
func (w *joining) gather() []*job {
	w.mu.Lock()
	if len(w.jobs) < w.expected {
		all := make(chan struct{})
		w.all = all
		timer := time.NewTimer(min(mostPatience, max(leastPatience, w.took/2)))
		w.mu.Unlock()
		select {
		case <-all:
		case <-timer.C:
		}
		timer.Stop()
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	jobs := w.jobs
	w.jobs, w.all = nil, nil
	return jobs
}

// answered takes note of a transaction that so many shared.
func (w *joining) answered(jobs int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected, w.took = jobs+len(w.jobs), took
}

// updateTogether is update for callers who share a sync. fn may be run more than once; changes is how many it makes.
func (db *DB) updateTogether(what string, changes int, fn func(*bbolt.Tx) error) error {
	mine := &job{fn: fn, changes: changes, done: make(chan struct{})}
	if db.joining.join(mine) {
		db.lead()
	}
	<-mine.done
	if mine.err != nil {
		return fmt.Errorf("cannot store %s: %w", what, statedir.NoRoom(mine.err))
	}
	return nil
}

// lead does what all who have joined have asked for.
func (db *DB) lead() {
	db.mu.Lock()
	defer db.mu.Unlock()
	jobs := db.joining.gather()
	start := time.Now()
	db.runTogether(jobs)
	db.joining.answered(len(jobs), time.Since(start))
	for _, j := range jobs {
		close(j.done)
	}
}

// runTogether runs jobs in one transaction. One that fails is left out, and the others are run again without it. mu is held.
func (db *DB) runTogether(jobs []*job) {
	for len(jobs) > 0 {
		var failed *job
		start, changes := time.Now(), 0
		err := db.whileOpen(func() error {
			return db.bolt.Update(func(tx *bbolt.Tx) error {
				changes = 0
				for _, j := range jobs {
					changes += j.changes
					if err := j.fn(tx); err != nil {
						failed = j
						return err
					}
				}
				return nil
			})
		})
		db.figures.written(start, err)
		if failed == nil {
			if err == nil {
				db.figures.changes.Observe(float64(changes))
			}
			for _, j := range jobs {
				j.err = err
			}
			return
		}
		failed.err = err
		var rest []*job
		for _, j := range jobs {
			if j != failed {
				rest = append(rest, j)
			}
		}
		jobs = rest
	}
}
