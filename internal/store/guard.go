package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// ErrDamaged is in the chain of every error that comes from a database file that makes no sense.
var ErrDamaged = errors.New("the database is damaged")

// ErrClosed is what every method returns after Close.
var ErrClosed = errors.New("the database is closed")

// guarded runs fn, which uses bbolt, and turns its panics and memory faults into ErrDamaged: bbolt trusts the pages it
// maps, so a bad one is a panic, and a file cut short by someone else is a bus error. After one of those the state of
// bbolt is unknown, and it is not touched again.
func (db *DB) guarded(fn func() error) (err error) {
	if db.damage != nil {
		return db.damage
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine; fn must not start others
	defer func() {
		if p := recover(); p != nil {
			db.damage = fmt.Errorf("%w: reading it failed (%v); restart the sidecar, which sets the file aside and starts a new one",
				ErrDamaged, p)
			db.log.Error("the database went bad while in use", "error", db.damage, "path", db.path)
			err = db.damage
		}
	}()
	return fn()
}

// update runs fn in a transaction that is on disk when update returns nil, and has not happened otherwise.
func (db *DB) update(what string, fn func(*bbolt.Tx) error) error {
	return db.transact("cannot store "+what, fn, (*bbolt.DB).Update, db.figures.written)
}

// view runs fn in a transaction that only reads. What fn keeps it must copy.
func (db *DB) view(what string, fn func(*bbolt.Tx) error) error {
	return db.transact("cannot read "+what, fn, (*bbolt.DB).View, func(time.Time, error) {})
}

func (db *DB) transact(
	doing string, fn func(*bbolt.Tx) error, run func(*bbolt.DB, func(*bbolt.Tx) error) error, ran func(start time.Time, err error),
) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	start := time.Now()
	err := db.whileOpen(func() error { return run(db.bolt, fn) })
	ran(start, err)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, statedir.NoRoom(err))
	}
	return nil
}

// whileOpen is guarded for a database that may have been closed. mu is held.
func (db *DB) whileOpen(fn func() error) error {
	if db.bolt == nil {
		return ErrClosed
	}
	return db.guarded(fn)
}
