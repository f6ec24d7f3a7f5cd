package store

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// job is one caller's share of a transaction that many share.
type job struct {
	fn      func(*bbolt.Tx) error
	changes int
	err     error
	done    bool
}

// updateTogether is update for callers who share a sync: whoever gets hold of the database first does what all have asked for by then
// in one transaction. fn may be run more than once; changes is how many it makes.
func (db *DB) updateTogether(what string, changes int, fn func(*bbolt.Tx) error) error {
	mine := &job{fn: fn, changes: changes}
	db.joining.Lock()
	db.jobs = append(db.jobs, mine)
	db.joining.Unlock()

	db.mu.Lock()
	defer db.mu.Unlock()
	if !mine.done {
		db.joining.Lock()
		jobs := db.jobs
		db.jobs = nil
		db.joining.Unlock()
		db.runTogether(jobs)
	}
	if mine.err != nil {
		return fmt.Errorf("cannot store %s: %w", what, statedir.NoRoom(mine.err))
	}
	return nil
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
				j.err, j.done = err, true
			}
			return
		}
		failed.err, failed.done = err, true
		rest := jobs[:0]
		for _, j := range jobs {
			if j != failed {
				rest = append(rest, j)
			}
		}
		jobs = rest
	}
}
