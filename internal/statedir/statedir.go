// Package statedir looks after the directory in which one sidecar keeps what must survive it: credentials, desired
// state and the event journal.
//
// Secrets live there, so the directory must be closed to everybody but its owner; and two processes that owned the
// same device would kick each other off the platform for ever, so one process at a time holds its lock.
// The rooms that keep files in it (credential, store) share the few rules below and nothing else.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Prepare makes dir (and its parents, all mode 0700) when it is missing, and refuses a dir that other users can enter,
// that is not a directory, or that this process cannot write to. Its errors fit on one line and say what to do.
func Prepare(dir string) error {
	if dir == "" {
		return errors.New("no state directory was named: give one with --state-dir")
	}
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("cannot make the state directory: %w; make it by hand or name another with --state-dir", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("cannot use the state directory: %w", err)
	}
	switch mode := info.Mode(); {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: name another with --state-dir", dir)
	case mode.Perm()&0o077 != 0:
		return fmt.Errorf("other users can get into %s (mode %#o) and secrets are kept there: run `chmod 700 %s`", dir, mode.Perm(), dir)
	case mode.Perm()&0o700 != 0o700:
		return fmt.Errorf("the owner of %s lacks rights to it (mode %#o): run `chmod 700 %s`", dir, mode.Perm(), dir)
	}
	// Asked of the kernel too: a read-only mount or a foreign owner does not show in the mode.
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("uid %d cannot write to %s: %w; run `chown %d %s` or name another with --state-dir",
			os.Geteuid(), dir, err, os.Geteuid(), dir)
	}
	return nil
}

// makeDir is os.MkdirAll that survives a power cut: each new name is on disk before the next is made inside it.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// One may be allowed to write into a directory without being allowed to open it. Nothing is lost yet if this fails.
	if err := Sync(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
