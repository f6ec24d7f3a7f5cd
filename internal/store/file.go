package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// lockWait is how long openLocked waits for a predecessor that is on its way out.
const lockWait = time.Second

// openLocked opens or makes the database file and takes its lock. The lock comes before the first look inside: what
// another process is writing right now would look damaged.
func openLocked(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(file, path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func lock(file *os.File, path string) error {
	if err := statedir.Private(file); err != nil {
		return err
	}
	inUse := func() error {
		dir := filepath.Dir(path)
		return &statedir.InUseError{Dir: dir, PID: statedir.Holder(dir)}
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // flock waits for ever or not at all
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("cannot lock: %w", err)
		}
		if time.Since(start) >= lockWait {
			return inUse()
		}
	}
	// Whoever held the lock may have set the file aside: then what is open here is no longer the database.
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	current, err := os.Stat(path)
	if err != nil || !os.SameFile(mine, current) {
		return inUse()
	}
	return nil
}

// release gives the lock back before it closes the file: closing alone does not as long as bbolt still maps the file.
func release(file *os.File) error {
	return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
}
