package store

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// PutDesired writes down what is wanted of a device, in place of an earlier record. The record is the caller's affair.
// When the error is statedir.ErrDiskFull the earlier record stands and the database remains usable.
func (db *DB) PutDesired(id device.ID, record []byte) error {
	if err := id.Validate(); err != nil {
		return err
	}
	return db.update("the desired state of "+id.String(), func(tx *bbolt.Tx) error {
		return tx.Bucket(desiredBucket).Put([]byte(id.String()), record)
	})
}

// DeleteDesired forgets what was wanted of a device; a device that was not known is fine.
func (db *DB) DeleteDesired(id device.ID) error {
	return db.update("the desired state of "+id.String(), func(tx *bbolt.Tx) error {
		return tx.Bucket(desiredBucket).Delete([]byte(id.String()))
	})
}

// Desired is every record of PutDesired. A key that is no device (any more) is logged and left out: one bad entry must
// not keep the other devices offline.
func (db *DB) Desired() (map[device.ID][]byte, error) {
	all := map[device.ID][]byte{}
	err := db.view("the desired state", func(tx *bbolt.Tx) error {
		return tx.Bucket(desiredBucket).ForEach(func(key, record []byte) error {
			id, err := device.ParseID(string(key))
			if err != nil {
				db.log.Error("an entry of the desired state was left out", "error", err)
				return nil
			}
			all[id] = bytes.Clone(record)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
