package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// format is the version of what the buckets mean. It changes only when an older sidecar would misread them.
const format = "1"

var (
	metaBucket    = []byte("meta")
	desiredBucket = []byte("desired") // device.ID.String() → record
	eventsBucket  = []byte("events")  // sequence, 8 bytes big-endian → record

	formatKey = []byte("format")
	epochKey  = []byte("epoch")
)

// UnknownVersionError says that a newer program wrote the database. The file has not been touched.
type UnknownVersionError struct {
	Found string // the version in the file
	Known string // the one this program writes
}

// Error tells the version and the way out.
func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("it has format %q and this linkkit-sidecar knows %q: a newer linkkit-sidecar wrote it; "+
		"run that one or use another --state-dir", e.Found, e.Known)
}

// readMeta checks whose file this is, fills an empty one, and reads what the DB keeps in memory.
func (db *DB) readMeta() error {
	fresh := false
	err := db.view("its format", func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if first, _ := tx.Cursor().First(); first != nil {
				return fmt.Errorf("%w: it is not a database of linkkit-sidecar", ErrDamaged)
			}
			fresh = true
			return nil
		}
		return db.readBuckets(tx, meta)
	})
	if err != nil || !fresh {
		return err
	}
	if err := db.update("its format", db.fill); err != nil {
		return err
	}
	return statedir.Sync(db.dir) // the name sidecar.db itself
}

func (db *DB) readBuckets(tx *bbolt.Tx, meta *bbolt.Bucket) (err error) {
	if found := string(meta.Get(formatKey)); found != format {
		return &UnknownVersionError{Found: found, Known: format}
	}
	db.epoch = string(meta.Get(epochKey))
	events := tx.Bucket(eventsBucket)
	if len(db.epoch) != epochLength || events == nil || tx.Bucket(desiredBucket) == nil {
		return fmt.Errorf("%w: a part of it is missing", ErrDamaged)
	}
	if db.journal, err = scan(events); err != nil {
		return err
	}
	return checkQueues(tx)
}

// fill writes everything that a database must have, in the one transaction that makes it a database.
func (db *DB) fill(tx *bbolt.Tx) error {
	random := make([]byte, epochLength/2)
	_, _ = rand.Read(random) // never fails
	db.epoch = hex.EncodeToString(random)
	for _, name := range [][]byte{metaBucket, desiredBucket, eventsBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	if err := meta.Put(formatKey, []byte(format)); err != nil {
		return err
	}
	return meta.Put(epochKey, []byte(db.epoch))
}
