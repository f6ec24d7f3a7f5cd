package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"go.etcd.io/bbolt"
)

// The bounds of the journal unless KeepEvents sets others.
const (
	DefaultMaxEvents     = 16384
	DefaultMaxEventBytes = 16 << 20 // bytes of records
)

// epochLength is the length of an epoch in hex digits.
const epochLength = 16

// journal is what the DB knows by heart about the events on disk.
type journal struct {
	oldest, last uint64 // sequences; 0 when there are no events
	count        int
	bytes        int64 // of records
}

// Epoch names this journal: 16 random hex digits, made with it. Sequences of another epoch belong to another journal.
func (db *DB) Epoch() string { return db.epoch }

// AppendEvents adds records with consecutive sequence numbers that start at first, all or none. first must be above
// LastSequence; when it is more than one above, the numbers between stay a hole, which readers can see.
// The oldest events beyond the bounds are dropped, though never the newest.
// When the error is statedir.ErrDiskFull nothing was added and the database remains usable.
func (db *DB) AppendEvents(first uint64, records [][]byte) error {
	if len(records) == 0 {
		return nil
	}
	return db.update("events", func(tx *bbolt.Tx) error {
		after := db.journal
		if first <= after.last || first > math.MaxUint64-uint64(len(records)) {
			return fmt.Errorf("sequence %d cannot follow %d", first, after.last)
		}
		events := tx.Bucket(eventsBucket)
		events.FillPercent = 0.95 // keys only ever grow, so a split page is never written to again
		for i, record := range records {
			after.last = first + uint64(i)
			key := sequenceKey(after.last)
			// A commit that failed at its very last sync may have happened after all; then this replaces it.
			if old := events.Get(key); old != nil {
				after.count--
				after.bytes -= int64(len(old))
			}
			if err := events.Put(key, record); err != nil {
				return err
			}
			after.count++
			after.bytes += int64(len(record))
		}
		if err := db.trim(events, &after); err != nil {
			return err
		}
		tx.OnCommit(func() {
			db.journal = after
			db.figures.keepJournal(after)
		})
		return nil
	})
}

// trim drops the oldest events until the bounds hold.
func (db *DB) trim(events *bbolt.Bucket, after *journal) error {
	cursor := events.Cursor()
	oldest, record := cursor.First()
	for after.count > 1 && (after.count > db.maxEvents || after.bytes > db.maxEventBytes) {
		after.count--
		after.bytes -= int64(len(record))
		if err := cursor.Delete(); err != nil {
			return err
		}
		oldest, record = cursor.First()
	}
	after.oldest = binary.BigEndian.Uint64(oldest)
	return nil
}

// ReadEvents returns up to limit events, the oldest kept ones with a sequence above after. first is the sequence of
// records[0], and the rest follow without a hole; first above after+1 means that what lies between is lost.
// There are no records when there is nothing after.
func (db *DB) ReadEvents(after uint64, limit int) (first uint64, records [][]byte, err error) {
	if after == math.MaxUint64 {
		return 0, nil, nil
	}
	err = db.view("events", func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(eventsBucket).Cursor()
		for key, record := cursor.Seek(sequenceKey(after + 1)); key != nil && len(records) < limit; key, record = cursor.Next() {
			sequence := binary.BigEndian.Uint64(key)
			if len(records) == 0 {
				first = sequence
			}
			if sequence != first+uint64(len(records)) {
				break
			}
			records = append(records, bytes.Clone(record))
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return first, records, nil
}

// LastSequence is the sequence of the newest event, 0 when there is none yet.
func (db *DB) LastSequence() (uint64, error) {
	j, err := db.knownJournal()
	return j.last, err
}

// OldestSequence is the sequence of the oldest event that is kept, 0 when there is none yet.
func (db *DB) OldestSequence() (uint64, error) {
	j, err := db.knownJournal()
	return j.oldest, err
}

func (db *DB) knownJournal() (j journal, err error) {
	err = db.view("events", func(*bbolt.Tx) error {
		j = db.journal
		return nil
	})
	return j, err
}

// scan counts the events on disk.
func scan(events *bbolt.Bucket) (j journal, err error) {
	err = events.ForEach(func(key, record []byte) error {
		if len(key) != 8 || record == nil {
			return fmt.Errorf("%w: the event journal has a key of %d bytes", ErrDamaged, len(key))
		}
		j.last = binary.BigEndian.Uint64(key)
		if j.count == 0 {
			j.oldest = j.last
		}
		j.count++
		j.bytes += int64(len(record))
		return nil
	})
	return j, err
}

// sequenceKey sorts as the number does.
func sequenceKey(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }
