// Package store is the embedded database of one sidecar: which devices should be online, the journal of events, and
// queues of messages.
//
// It is one bbolt file, sidecar.db in the state directory. What a method has accepted is on disk when it returns.
// Credentials are not in here on purpose: a secret that cannot be issued again must not share the fate of a busy file.
//
// A damaged file never stops the sidecar and is never overwritten: Open sets it aside under another name and starts a
// fresh one. A file of an unknown version is left alone and refused. A file that goes bad while it is in use turns
// every later call into ErrDamaged; it cannot take the process down, although bbolt reads it through a memory map.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// fileName is the database inside the state directory.
const fileName = "sidecar.db"

// checkUpTo is the size in bytes up to which Open reads and checks the whole database; of a larger one only the header.
const checkUpTo = 64 << 20

// growBy is the step in bytes in which a file over this size grows: small, since flash in a gateway is.
const growBy = 1 << 20

// DB is the open database. Its methods may be called from any goroutine.
type DB struct {
	log      *slog.Logger
	dir      string
	path     string
	setAside string
	epoch    string

	maxEvents     int
	maxEventBytes int64

	// mu lets one call at a time into bbolt. Reads are rare here, and a fault inside bbolt leaves its own locks taken:
	// with mu outside of them nobody is left waiting for ever.
	mu      sync.Mutex
	bolt    *bbolt.DB
	file    *os.File // the one that bolt uses; it carries the lock
	damage  error    // why bolt must not be touched any more
	journal journal

	figures *figures

	joining joining
}

// Option changes a default of Open.
type Option func(*DB)

// KeepEvents bounds the journal to count events and to bytes of records, whichever is reached first. A bound below 1
// stays at its default, DefaultMaxEvents or DefaultMaxEventBytes.
func KeepEvents(count int, bytes int64) Option {
	return func(db *DB) {
		if count > 0 {
			db.maxEvents = count
		}
		if bytes > 0 {
			db.maxEventBytes = bytes
		}
	}
}

// Open opens the database in the state directory dir, which it prepares, and makes a new one when there is none.
//
// A damaged file is set aside, see DB.SetAside. The error is a statedir.InUseError when another process holds the file
// for longer than a second, and an UnknownVersionError when a newer sidecar wrote it.
func Open(dir string, log *slog.Logger, options ...Option) (*DB, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := statedir.Prepare(dir); err != nil {
		return nil, err
	}
	db := &DB{
		log: log, dir: dir, path: filepath.Join(dir, fileName),
		maxEvents: DefaultMaxEvents, maxEventBytes: DefaultMaxEventBytes, figures: newFigures(),
	}
	for _, option := range options {
		option(db)
	}
	err := db.load()
	if errors.Is(err, ErrDamaged) && db.setAside != "" {
		log.Error("the database was damaged and has been set aside; what should be online and the event journal start empty",
			"error", err, "set_aside", db.setAside)
		db.damage = nil
		err = db.load()
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", db.path, statedir.NoRoom(err))
	}
	return db, nil
}

// load opens, checks and reads the file. A damaged one it sets aside while it still holds its lock.
func (db *DB) load() (err error) {
	file, err := openLocked(db.path)
	if err != nil {
		return err
	}
	db.file = file
	defer func() {
		if err == nil {
			return
		}
		if errors.Is(err, ErrDamaged) {
			var renaming error
			if db.setAside, renaming = statedir.SetAside(db.path); renaming != nil {
				err = fmt.Errorf("%w; %w", err, renaming)
			}
		}
		_ = db.Close()
		_ = release(file) // bbolt may have done so
	}()
	if err := verify(file, checkUpTo); err != nil {
		return err
	}
	if err := db.guarded(db.openBolt); err != nil {
		return err
	}
	if err := db.readMeta(); err != nil {
		return err
	}
	db.figures.keepJournal(db.journal)
	return nil
}

func (db *DB) openBolt() (err error) {
	db.bolt, err = bbolt.Open(db.path, 0o600, &bbolt.Options{
		Timeout:      time.Second, // never waits: the file comes with its lock
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return db.file, nil },
		NoStatistics: true,
	})
	if err != nil {
		return err
	}
	db.bolt.AllocSize = growBy
	return nil
}

// SetAside is the path to which Open moved a damaged database, or "" when there was none.
func (db *DB) SetAside() string { return db.setAside }

// Size is the length of the database file in bytes, 0 when it cannot be told.
func (db *DB) Size() int64 {
	info, err := os.Stat(db.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Close releases the file. Calls after it return ErrClosed; a second Close does nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.bolt == nil {
		return nil
	}
	bolt := db.bolt
	db.bolt = nil
	if db.damage != nil {
		// bbolt's locks may be taken for good. Its memory map is left to the end of the process; the file lock is not.
		return release(db.file)
	}
	return bolt.Close()
}
