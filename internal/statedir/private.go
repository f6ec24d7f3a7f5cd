package statedir

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Private refuses an open file that is not a regular one, that other users can read or write, or that neither this
// process nor root owns. It looks at the open file, so what was checked is what is read.
func Private(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	uid := os.Geteuid()
	owner := uid
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	return private(f.Name(), info.Mode(), owner, uid)
}

func private(path string, mode fs.FileMode, owner, uid int) error {
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("%s is not a regular file: move it away", path)
	case mode.Perm()&0o077 != 0:
		return fmt.Errorf("other users can get at %s (mode %#o): run `chmod 600 %s`, and think about who may have read it",
			path, mode.Perm(), path)
	case owner != uid && owner != 0:
		return fmt.Errorf("%s belongs to uid %d and this process is uid %d: run `chown %d %s` if you trust what is in it",
			path, owner, uid, uid, path)
	}
	return nil
}
