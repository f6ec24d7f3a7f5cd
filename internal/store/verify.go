package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// verifier follows every page of a file that bbolt could follow. bbolt has a check of its own, but that one reads
// through the memory map in a goroutine of its own, where a wild pointer or a file cut short ends the process. This one
// reads the file with ordinary reads and looks at every length before it uses it.
type verifier struct {
	header
	file    io.ReaderAt
	claimed []bool // the pages that were met; meeting one twice is damage, which also ends every cycle
}

// verify tells whether bbolt can be let loose on file. An empty file is one that bbolt fills.
// Of a database over limit bytes it looks at the header only. Its errors are ErrDamaged or come from reading.
func verify(file *os.File, limit uint64) error {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	h, err := readHeader(file, uint64(info.Size()))
	if err != nil || h.pages*h.pageSize > limit {
		return err
	}
	v := &verifier{header: h, file: file, claimed: make([]bool, h.pages)}
	v.claimed[0], v.claimed[1] = true, true
	if err := v.unused(); err != nil {
		return err
	}
	return v.tree(h.root, nil, nil)
}

// read claims page id and returns it.
func (v *verifier) read(id uint64) (page, error) {
	if id < 2 || id >= v.pages {
		return page{}, fmt.Errorf("%w: it points at page %d of %d", ErrDamaged, id, v.pages)
	}
	head := make([]byte, pageHeader)
	if _, err := v.file.ReadAt(head, int64(id*v.pageSize)); err != nil {
		return page{}, err
	}
	length := 1 + uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head) != id || length > v.pages-id {
		return page{}, fmt.Errorf("%w: page %d is not what it should be", ErrDamaged, id)
	}
	for i := id; i < id+length; i++ {
		if err := v.claim(i); err != nil {
			return page{}, err
		}
	}
	p := page{id: id, data: make([]byte, length*v.pageSize)}
	if _, err := v.file.ReadAt(p.data, int64(id*v.pageSize)); err != nil {
		return page{}, err
	}
	p.flags, p.count = p.head()
	return p, nil
}

func (v *verifier) claim(id uint64) error {
	if v.claimed[id] {
		return fmt.Errorf("%w: page %d is used twice", ErrDamaged, id)
	}
	v.claimed[id] = true
	return nil
}

// unused claims the pages on the freelist, and the list itself: bbolt will write to them.
func (v *verifier) unused() error {
	p, err := v.read(v.freelist)
	if err != nil {
		return err
	}
	ids, count := p.data[pageHeader:], uint64(p.count)
	if count == 0xFFFF { // then the first entry is the count
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if p.flags != freelistPage || count > uint64(len(ids)/8) {
		return fmt.Errorf("%w: page %d is not a list of unused pages", ErrDamaged, p.id)
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[8*i:])
		if id < 2 || id >= v.pages {
			return fmt.Errorf("%w: it lists page %d of %d as unused", ErrDamaged, id, v.pages)
		}
		if err := v.claim(id); err != nil {
			return err
		}
	}
	return nil
}

// tree checks page id and all below it, whose keys must be at least low and below high; nil is no bound.
func (v *verifier) tree(id uint64, low, high []byte) error {
	p, err := v.read(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case branchPage:
		return v.branch(p, low, high)
	case leafPage:
		return v.leaf(p, low, high, false)
	}
	return fmt.Errorf("%w: page %d is of no known kind (%#x)", ErrDamaged, id, p.flags)
}

func (v *verifier) branch(p page, low, high []byte) error {
	keys := make([][]byte, 0, p.count)
	children := make([]uint64, 0, p.count)
	for i := range p.count {
		e, err := p.entry(i)
		if err != nil {
			return err
		}
		key, _, err := p.slices(i, binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:]), 0)
		if err != nil {
			return err
		}
		keys, children = append(keys, key), append(children, binary.NativeEndian.Uint64(e[8:]))
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: page %d leads nowhere", ErrDamaged, p.id)
	}
	if err := p.sorted(keys, low, high); err != nil {
		return err
	}
	for i, child := range children {
		end := high
		if i+1 < len(keys) {
			end = keys[i+1]
		}
		if err := v.tree(child, keys[i], end); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) leaf(p page, low, high []byte, inline bool) error {
	keys := make([][]byte, 0, p.count)
	for i := range p.count {
		e, err := p.entry(i)
		if err != nil {
			return err
		}
		order := binary.NativeEndian
		flags := order.Uint32(e)
		key, value, err := p.slices(i, order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:]))
		if err != nil {
			return err
		}
		keys = append(keys, key)
		switch {
		case flags == 0:
		case flags == bucketElement && !inline:
			if err := v.bucket(p, value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: page %d has an entry of no known kind (%#x)", ErrDamaged, p.id, flags)
		}
	}
	return p.sorted(keys, low, high)
}

// bucket checks a bucket, which is a page of its own or, when it is small, a page inside the value.
func (v *verifier) bucket(p page, value []byte) error {
	if len(value) < bucketLength {
		return fmt.Errorf("%w: page %d has a bucket that is cut short", ErrDamaged, p.id)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return v.tree(root, nil, nil)
	}
	inline := page{id: p.id, data: value[bucketLength:]}
	if len(inline.data) < pageHeader {
		return fmt.Errorf("%w: page %d has a bucket that is cut short", ErrDamaged, p.id)
	}
	if inline.flags, inline.count = inline.head(); inline.flags != leafPage {
		return fmt.Errorf("%w: page %d has a bucket of no known kind (%#x)", ErrDamaged, p.id, inline.flags)
	}
	return v.leaf(inline, nil, nil, true)
}
