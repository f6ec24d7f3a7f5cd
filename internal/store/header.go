package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
)

// The layout of a bbolt page and of the two header ("meta") pages that begin a file, in bytes and native byte order.
const (
	pageHeader = 16 // id 8, flags 2, count 2, overflow 4
	metaLength = 64 // magic 4, version 4, page size 4, flags 4, root 8+8, freelist 8, page count 8, transaction 8, checksum 8
	magic      = 0xED0CDAED
	boltFormat = 2
)

// header is what the newer of the two valid header pages says.
type header struct {
	version     uint32
	pageSize    uint64 // bytes
	root        uint64 // the page at the top of the tree
	freelist    uint64 // the page with the list of unused pages
	pages       uint64 // how many pages there are; the file may be longer
	transaction uint64
}

// readHeader finds the header that bbolt would use in a file of size bytes.
func readHeader(r io.ReaderAt, size uint64) (header, error) {
	first, ok, err := headerAt(r, 0)
	if err != nil {
		return header{}, err
	}
	if ok {
		second, ok, err := headerAt(r, first.pageSize)
		if ok && second.transaction > first.transaction {
			first = second
		}
		return first, errors.Join(err, first.sane(size))
	}
	// The second page starts where the first ends, and how long that is says only the second.
	for pageSize := uint64(1 << 10); pageSize <= 1<<24 && pageSize < size; pageSize *= 2 {
		second, ok, err := headerAt(r, pageSize)
		if err != nil {
			return header{}, err
		}
		if ok && second.pageSize == pageSize {
			return second, second.sane(size)
		}
	}
	return header{}, fmt.Errorf("%w: it has no valid header", ErrDamaged)
}

// headerAt reads the header page at offset; ok tells whether there is a valid one.
func headerAt(r io.ReaderAt, offset uint64) (h header, ok bool, err error) {
	page := make([]byte, pageHeader+metaLength)
	if _, err := r.ReadAt(page, int64(offset)); errors.Is(err, io.EOF) {
		return header{}, false, nil
	} else if err != nil {
		return header{}, false, err
	}
	meta, order := page[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaLength-8])
	return header{
		version:     order.Uint32(meta[4:]),
		pageSize:    uint64(order.Uint32(meta[8:])),
		root:        order.Uint64(meta[16:]),
		freelist:    order.Uint64(meta[32:]),
		pages:       order.Uint64(meta[40:]),
		transaction: order.Uint64(meta[48:]),
	}, order.Uint32(meta) == magic && order.Uint64(meta[56:]) == sum.Sum64(), nil
}

// sane checks that what the header says fits a file of size bytes.
func (h header) sane(size uint64) error {
	switch {
	case h.version != boltFormat:
		return &UnknownVersionError{Found: "bbolt " + strconv.FormatUint(uint64(h.version), 10), Known: "bbolt " + strconv.Itoa(boltFormat)}
	case h.pageSize < 1<<10 || h.pageSize > 1<<24 || h.pageSize&(h.pageSize-1) != 0:
		return fmt.Errorf("%w: it claims pages of %d bytes", ErrDamaged, h.pageSize)
	case h.pages > size/h.pageSize:
		return fmt.Errorf("%w: it was cut short, to %d bytes of %d pages of %d bytes", ErrDamaged, size, h.pages, h.pageSize)
	case h.root < 2 || h.root >= h.pages || h.freelist < 2 || h.freelist >= h.pages:
		return fmt.Errorf("%w: its header points outside of it", ErrDamaged)
	}
	return nil
}
