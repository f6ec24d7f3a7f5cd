package program

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// fsyncAlone writes one page and waits until the disk has it, again and again.
func fsyncAlone(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	f, err := os.Create(filepath.Join(p.Dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	const pages = 256 // all of them exist before time counts
	page := make([]byte, os.Getpagesize())
	for i := range pages {
		if _, err := f.WriteAt(page, int64(i*len(page))); err != nil {
			return nil, err
		}
	}
	m := newMeter(p)
	for i := 0; ctx.Err() == nil && !m.over(); i++ {
		start := time.Now()
		if _, err := f.WriteAt(page, int64(i%pages*len(page))); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		m.add(start)
	}
	return m.figures()
}
