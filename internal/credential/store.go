package credential

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// dirName is the directory inside the state directory.
const dirName = "credentials"

// ErrNotFound means that there is no such credential. Its message tells when a damaged one was set aside.
var ErrNotFound = errors.New("no credential is stored")

// DamagedError says that a stored credential made no sense and has been set aside: it cannot be used, and a person may
// still make something of it. From then on the device has no such credential.
type DamagedError struct {
	Device   device.ID
	SetAside string // where the file is now; "" when it could not be renamed and is where it was
	Err      error  // what was wrong; never quotes the file
}

// Error tells what was wrong and where the file is.
func (e *DamagedError) Error() string {
	where := "it could not be set aside"
	if e.SetAside != "" {
		where = "it was set aside as " + e.SetAside
	}
	return fmt.Sprintf("the stored credential of %s cannot be used: %v; %s", e.Device, e.Err, where)
}

// Unwrap is what was wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// Store keeps credentials in one directory. Its methods may be called from any goroutine.
type Store struct {
	dir string
	log *slog.Logger
	key *key // nil: files are not encrypted

	mu sync.Mutex // one call at a time touches the files

	aside  []entry // files that were set aside, as far as they were looked for
	looked bool    // whether that was since the last one was

	opened map[device.ID]Credential // what Open has read, until Opened
}

// Options are the choices of Open.
type Options struct {
	// KeyFile is an age identity file, mode 0600 or stricter, that encrypts the credentials at rest. Without one they
	// are stored as readable JSON. The first identity in it encrypts, the others decrypt only.
	KeyFile string
	// Log hears about files that were set aside, encrypted or removed; nil is nowhere.
	Log *slog.Logger
}

// Open opens the credentials in the state directory dir; it makes both when they are missing.
//
// It reads every file once: damaged ones are set aside, readable ones are encrypted when there is a key, and what a
// killed process left half-written is removed. A file that it must not read (too wide a mode, another owner, an unknown
// version) it logs and leaves to Get. It fails with ErrKeyNeeded or ErrWrongKey when it has not the key for one file.
func Open(dir string, opts Options) (*Store, error) {
	s := &Store{dir: filepath.Join(dir, dirName), log: opts.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []string{dir, s.dir} {
		if err := statedir.Prepare(d); err != nil {
			return nil, err
		}
	}
	if opts.KeyFile != "" {
		var err error
		if s.key, err = readKey(opts.KeyFile); err != nil {
			return nil, err
		}
	}
	if err := s.tidy(); err != nil {
		return nil, err
	}
	return s, nil
}

// with runs fn as the one call that touches the files, for a device that can be; doing says in its error what failed.
func (s *Store) with(id device.ID, doing string, fn func() error) error {
	if err := id.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.opened, id) // it may be another soon
	if err := fn(); err != nil {
		return fmt.Errorf("cannot %s of %s: %w", doing, id, err)
	}
	return nil
}

// Get is the current credential of a device. The error is ErrNotFound when there is none, a DamagedError when it had to
// be set aside, an UnknownVersionError when a newer sidecar wrote it, and says `chmod 600 FILE` when others can read it.
// Only ErrNotFound means that the device may have to be registered.
func (s *Store) Get(id device.ID) (c Credential, err error) {
	err = s.with(id, "read the credential", func() error {
		c, _, err = s.find(id, current)
		return err
	})
	return c, err
}

// Put stores c as the current credential of a device, in place of an earlier one. When it returns nil, c is on disk and
// has been read back. After an error the earlier one is still there, unless c got there and only the last sync failed.
// A full disk is statedir.ErrDiskFull. An earlier file that cannot be read is set aside, not replaced.
func (s *Store) Put(id device.ID, c Credential) error {
	return s.with(id, "store the credential", func() error { return s.write(id, current, c) })
}

// Delete removes everything about a device: both credentials and the intent. A device that is not known is fine.
// Damaged files that were set aside stay.
func (s *Store) Delete(id device.ID) error {
	return s.with(id, "delete the credential", func() error {
		return removeDurably(s.dir,
			fileOf(id, candidate, plain), fileOf(id, candidate, sealed), fileOf(id, intent, plain),
			fileOf(id, current, plain), fileOf(id, current, sealed))
	})
}

// Opened is the current credentials as Open has read them, for who needs all of them at once; a second call has none. Get reads anew.
func (s *Store) Opened() map[device.ID]Credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	opened := s.opened
	s.opened = nil
	return opened
}

// IDs lists the devices that have a credential, current or candidate, sorted.
func (s *Store) IDs() ([]device.ID, error) {
	used, _, _, err := list(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the credentials: %w", err)
	}
	ids := make([]device.ID, 0, len(used))
	for _, e := range used {
		if e.slot != intent {
			ids = append(ids, e.id)
		}
	}
	slices.SortFunc(ids, func(a, b device.ID) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(ids), nil
}

// SetAside lists the damaged files that wait for a person to look at them.
func (s *Store) SetAside() ([]string, error) {
	_, aside, _, err := list(s.dir)
	paths := make([]string, len(aside))
	for i, e := range aside {
		paths[i] = s.path(e)
	}
	return paths, err
}
