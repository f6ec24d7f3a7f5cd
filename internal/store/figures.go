package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/measure"
)

// figures are what is counted of the database. They have no lock that is held while the disk is waited for: a disk that hangs is
// when they are looked at.
type figures struct {
	sync, changes *measure.Histogram
	failures      atomic.Uint64

	mu      sync.Mutex
	journal journal // as of the last commit
}

func newFigures() *figures {
	return &figures{
		sync:    measure.New(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10),
		changes: measure.New(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500),
	}
}

// written counts a transaction that was to be written.
func (f *figures) written(start time.Time, err error) {
	if err != nil {
		f.failures.Add(1)
		return
	}
	f.sync.Since(start)
}

func (f *figures) keepJournal(j journal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal = j
}

// Figures are numbers of the database.
type Figures struct {
	SyncSeconds measure.Snapshot // of transactions that were written, until they were on disk
	SyncChanges measure.Snapshot // records of queues that one such transaction put or took away, of all that shared it
	Failures    uint64           // transactions that could not be written
	Bytes       int64            // of the file

	Events                       int // in the journal
	EventBytes                   int64
	OldestSequence, LastSequence uint64 // of the journal; 0 when it is empty
}

// Figures are the numbers now. It does not wait for the disk, whatever else does.
func (db *DB) Figures() Figures {
	f := db.figures
	f.mu.Lock()
	j := f.journal
	f.mu.Unlock()
	return Figures{
		SyncSeconds: f.sync.Snapshot(), SyncChanges: f.changes.Snapshot(), Failures: f.failures.Load(), Bytes: db.Size(),
		Events: j.count, EventBytes: j.bytes, OldestSequence: j.oldest, LastSequence: j.last,
	}
}
