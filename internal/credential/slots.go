package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// forms are the endings of a file as this store writes it, and of the other kind that it may find.
func (s *Store) forms() (mine, other string) {
	if s.key == nil {
		return plain, sealed
	}
	return sealed, plain
}

// find reads the credential in a slot, encrypted or not, and tells which file it is in.
func (s *Store) find(id device.ID, which slot) (Credential, entry, error) {
	for _, end := range []string{sealed, plain} { // where both exist the encrypted one is the newer, see write
		e := fileOf(id, which, end)
		if errors.Is(syscall.Access(s.path(e), 0), syscall.ENOENT) { // mostly; an error for people costs more to make than to see that there is no file
			continue
		}
		if c, _, err := s.read(e); !errors.Is(err, fs.ErrNotExist) {
			return c, e, err
		}
	}
	if err := s.lookAside(); err != nil {
		return Credential{}, entry{}, err
	}
	for _, e := range s.aside {
		if e.id != id || e.slot != which {
			continue
		}
		if _, err := os.Lstat(s.path(e)); err == nil {
			return Credential{}, entry{}, fmt.Errorf("%w; a damaged one was set aside as %s", ErrNotFound, s.path(e))
		}
	}
	return Credential{}, entry{}, ErrNotFound
}

// lookAside finds what was set aside, once: each login asks for a candidate that mostly is not there, and to read the directory of
// thousands of devices for each of them would take most of the time. mu is held.
func (s *Store) lookAside() error {
	if s.looked {
		return nil
	}
	_, aside, _, err := list(s.dir)
	if err != nil {
		return err
	}
	s.aside, s.looked = aside, true
	return nil
}

// setAside gives a file another name. mu is held, or nobody has the store yet.
func (s *Store) setAside(path string) (string, error) {
	s.looked = false
	return statedir.SetAside(path)
}

// read reads one file and sets it aside when it is damaged. oldKey says that it should be encrypted again.
func (s *Store) read(e entry) (c Credential, oldKey bool, err error) {
	path := s.path(e)
	data, err := readPrivate(path)
	if err == nil && e.end == sealed {
		data, oldKey, err = s.key.open(data)
	}
	if err == nil {
		c, err = decodeCredential(e.id, data)
	}
	if err == nil {
		return c, oldKey, nil
	}
	if unknown, ok := errors.AsType[*UnknownVersionError](err); ok {
		unknown.Path = path
		return Credential{}, false, unknown
	}
	if !errors.Is(err, errDamaged) {
		return Credential{}, false, fmt.Errorf("%s: %w", path, err)
	}
	damaged := &DamagedError{Device: e.id, Err: err}
	var renaming error
	if damaged.SetAside, renaming = s.setAside(path); renaming != nil {
		damaged.Err = fmt.Errorf("%w (%w)", err, renaming)
	}
	s.log.Error("a stored credential is damaged", "device", e.id.String(), "file", path, "error", err, "set_aside", damaged.SetAside)
	return Credential{}, false, damaged
}

// write stores c, encrypted when there is a key, reads it back, and only then removes the file of the other form.
func (s *Store) write(id device.ID, which slot, c Credential) error {
	if c.StoredAt.IsZero() {
		c.StoredAt = time.Now()
	}
	if err := c.Validate(); err != nil {
		return err
	}
	data, err := encodeCredential(id, c)
	if err == nil && s.key != nil {
		data, err = s.key.seal(data)
	}
	if err != nil {
		return err
	}
	mine, other := s.forms()
	target, outdated := fileOf(id, which, mine), fileOf(id, which, other)
	if err := errors.Join(s.spare(target), s.spare(outdated)); err != nil {
		return err
	}
	if err := writeDurably(s.path(target), data); err != nil {
		return err
	}
	stored, _, err := s.read(target)
	if err != nil {
		return fmt.Errorf("it was written and cannot be read back: %w", err)
	}
	if !stored.Same(c) {
		return fmt.Errorf("it was written and something else was read back from %s: is another process writing there?", s.path(target))
	}
	return removeDurably(s.dir, outdated)
}

// spare sets aside a file that is about to be replaced or removed and cannot be read (because a newer sidecar wrote it,
// or there is no key for it, say): a secret in it must not be lost. To refuse instead would lose the new one.
func (s *Store) spare(e entry) error {
	_, _, err := s.read(e)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if damaged, ok := errors.AsType[*DamagedError](err); ok && damaged.SetAside != "" {
		return nil
	}
	aside, renaming := s.setAside(s.path(e))
	if renaming != nil {
		return renaming
	}
	s.log.Error("a stored credential that cannot be read made way for a new one", "device", e.id.String(), "error", err, "set_aside", aside)
	return nil
}
