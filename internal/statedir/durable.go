package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Sync makes the names in dir durable: a renamed, new or removed file is only so after a power cut once its directory
// has been synced as well.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	// Some network and FUSE file systems cannot sync a directory; they have no better way to offer.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// SetAside renames a damaged file to path.corrupt-<UTC time> so that a person can look at it, and returns the new
// path. It never replaces a file.
func SetAside(path string) (string, error) {
	base := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405Z")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break // no such file, or Rename tells what else is wrong
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("cannot set the damaged %s aside: %w; move it away by hand", path, err)
	}
	return aside, Sync(filepath.Dir(path))
}

// ErrDiskFull is in the chain of errors that mean that there was no room: a full disk, a quota or a file size limit.
var ErrDiskFull = errors.New("no room left on the disk")

// NoRoom puts ErrDiskFull into the chain of err when that is what err means; it returns other errors as they are.
func NoRoom(err error) error {
	if err == nil || errors.Is(err, ErrDiskFull) {
		return err
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		switch {
		case errors.Is(err, errno):
			return fmt.Errorf("%w: %w", ErrDiskFull, err)
		case strings.HasSuffix(err.Error(), errno.Error()): // bbolt's file resize error keeps only the text
			return fmt.Errorf("%w: %w (%w)", ErrDiskFull, err, errno)
		}
	}
	return err
}
