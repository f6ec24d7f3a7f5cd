package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// queuesBucket holds a bucket for each queue that is not empty: sequence, 8 bytes big-endian → record. An older sidecar knows
// nothing of it and leaves it alone.
var queuesBucket = []byte("queues")

// ChangeQueue makes all changes or none, and returns when they are on disk. Callers who come while another's changes are being
// synced share the next sync. When the error is statedir.ErrDiskFull nothing was changed and the database remains usable.
func (db *DB) ChangeQueue(changes []message.Change) error {
	if len(changes) == 0 {
		return nil
	}
	return db.updateTogether("messages", len(changes), func(tx *bbolt.Tx) error {
		queues, err := tx.CreateBucketIfNotExists(queuesBucket)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := change(queues, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func change(queues *bbolt.Bucket, c message.Change) error {
	name := []byte(c.Queue)
	queue := queues.Bucket(name)
	if c.Record == nil {
		if queue == nil {
			return nil
		}
		if err := queue.Delete(sequenceKey(c.Sequence)); err != nil {
			return err
		}
		if first, _ := queue.Cursor().First(); first == nil {
			return queues.DeleteBucket(name)
		}
		return nil
	}
	if queue == nil {
		var err error
		if queue, err = queues.CreateBucket(name); err != nil {
			return err
		}
	}
	queue.FillPercent = 0.95 // numbers mostly grow
	return queue.Put(sequenceKey(c.Sequence), c.Record)
}

// ReadQueue returns the records of these numbers in a queue; nil for one that is not there.
func (db *DB) ReadQueue(queue string, sequences []uint64) ([][]byte, error) {
	records := make([][]byte, len(sequences))
	err := db.view("messages", func(tx *bbolt.Tx) error {
		b := queueOf(tx, queue)
		if b == nil {
			return nil
		}
		for i, s := range sequences {
			records[i] = bytes.Clone(b.Get(sequenceKey(s)))
		}
		return nil
	})
	return records, err
}

// ScanQueue goes through a queue in the order of numbers. A record is valid during the call only, and the call must not come back
// to the database.
func (db *DB) ScanQueue(queue string, each func(sequence uint64, record []byte) error) error {
	return db.view("messages", func(tx *bbolt.Tx) error {
		b := queueOf(tx, queue)
		if b == nil {
			return nil
		}
		return b.ForEach(func(key, record []byte) error { return each(binary.BigEndian.Uint64(key), record) })
	})
}

// checkQueues finds what is no queue or no record of one, while the file can still be set aside: later it would stop whoever reads it.
func checkQueues(tx *bbolt.Tx) error {
	names, err := queueNames(tx, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := queueOf(tx, name).ForEach(func(key, record []byte) error {
			if len(key) != 8 || record == nil {
				return fmt.Errorf("%w: a queue has a key of %d bytes", ErrDamaged, len(key))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// ListQueues names the queues that hold something and begin with prefix, in their order.
func (db *DB) ListQueues(prefix string) (names []string, err error) {
	err = db.view("messages", func(tx *bbolt.Tx) error {
		names, err = queueNames(tx, prefix)
		return err
	})
	return names, err
}

// DropQueues removes the queues that begin with prefix.
func (db *DB) DropQueues(prefix string) error {
	return db.update("messages", func(tx *bbolt.Tx) error {
		names, err := queueNames(tx, prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := tx.Bucket(queuesBucket).DeleteBucket([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func queueOf(tx *bbolt.Tx, name string) *bbolt.Bucket {
	queues := tx.Bucket(queuesBucket)
	if queues == nil {
		return nil
	}
	return queues.Bucket([]byte(name))
}

func queueNames(tx *bbolt.Tx, prefix string) (names []string, err error) {
	queues := tx.Bucket(queuesBucket)
	if queues == nil {
		return nil, nil
	}
	cursor := queues.Cursor()
	for key, value := cursor.Seek([]byte(prefix)); key != nil && strings.HasPrefix(string(key), prefix); key, value = cursor.Next() {
		if value != nil {
			return nil, fmt.Errorf("%w: there is a record where a queue should be", ErrDamaged)
		}
		names = append(names, string(key))
	}
	return names, nil
}
