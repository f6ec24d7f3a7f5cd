package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The kinds of page, and the flag of a leaf element that is a bucket.
const (
	branchPage    = 0x01
	leafPage      = 0x02
	freelistPage  = 0x10
	bucketElement = 0x01
)

const (
	elementLength = 16 // of an entry in a page's table, whose keys and values follow the table
	bucketLength  = 16 // root page 8 and sequence 8, before the inline page of a small bucket
)

// page is one page together with those that it overflows into.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // all of it, the header included
}

func (p page) head() (flags uint16, count int) {
	return binary.NativeEndian.Uint16(p.data[8:]), int(binary.NativeEndian.Uint16(p.data[10:]))
}

// entry is row i of the table at the start of the page.
func (p page) entry(i int) ([]byte, error) {
	start := pageHeader + i*elementLength
	if start+elementLength > len(p.data) {
		return nil, fmt.Errorf("%w: page %d has too many entries (%d)", ErrDamaged, p.id, p.count)
	}
	return p.data[start : start+elementLength], nil
}

// slices cuts a key and a value that begin position bytes after row i out of the page.
func (p page) slices(i int, position, key, value uint32) (k, v []byte, err error) {
	start := uint64(pageHeader+i*elementLength) + uint64(position)
	middle := start + uint64(key)
	end := middle + uint64(value)
	if key == 0 || end > uint64(len(p.data)) {
		return nil, nil, fmt.Errorf("%w: entry %d of page %d reaches outside of it", ErrDamaged, i, p.id)
	}
	return p.data[start:middle], p.data[middle:end], nil
}

func (p page) sorted(keys [][]byte, low, high []byte) error {
	for i, key := range keys {
		switch {
		case i == 0 && low != nil && bytes.Compare(key, low) < 0,
			i > 0 && bytes.Compare(key, keys[i-1]) <= 0,
			high != nil && bytes.Compare(key, high) >= 0:
			return fmt.Errorf("%w: the keys of page %d are out of order", ErrDamaged, p.id)
		}
	}
	return nil
}
