package credential

import (
	"errors"
	"fmt"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// tidy reads every file once, as Open promises, and keeps what it has read for Opened.
func (s *Store) tidy() error {
	used, aside, others, err := list(s.dir)
	if err != nil {
		return fmt.Errorf("cannot list the credentials: %w", err)
	}
	for _, name := range others {
		if !temporary(name) {
			s.log.Warn("a file that does not belong there lies among the credentials", "file", name)
			continue
		}
		// A temporary file of a process that was killed in the middle of Put, which therefore promised nothing.
		if err := removeDurably(s.dir, entry{name: name}); err != nil {
			return fmt.Errorf("cannot remove the unfinished file %s: %w", name, err)
		}
		s.log.Info("removed a credential that a killed process had half written", "file", name)
	}
	for _, e := range aside {
		s.log.Warn("a damaged credential waits to be looked at", "device", e.id.String(), "set_aside", s.path(e))
	}
	encrypted := map[entry]bool{} // by what would be its plain file
	s.opened = map[device.ID]Credential{}
	for _, end := range []string{sealed, plain} {
		for _, e := range used {
			if e.end != end || e.slot == intent {
				continue
			}
			twin := fileOf(e.id, e.slot, plain)
			superseded, twins := encrypted[twin]
			readable, err := s.tidyOne(e, superseded)
			if err != nil {
				return err
			}
			if twins { // which of them counts is for Get to say
				delete(s.opened, e.id)
			}
			encrypted[twin] = end == sealed && readable
		}
	}
	return nil
}

// temporary reports whether name is one that writeDurably gives to a file until it is complete.
func temporary(name string) bool {
	target, hidden := strings.CutPrefix(strings.TrimRight(name, "0123456789"), ".")
	_, ok := parseName(target)
	return hidden && ok
}

// tidyOne checks one file. superseded says that its device has an encrypted one beside this readable one.
func (s *Store) tidyOne(e entry, superseded bool) (readable bool, err error) {
	if superseded { // a process was killed after it had written the encrypted file and before it removed this one
		if err := removeDurably(s.dir, e); err != nil {
			return false, fmt.Errorf("cannot remove %s, of which there is an encrypted copy: %w", s.path(e), err)
		}
		return false, nil
	}
	c, oldKey, err := s.read(e)
	switch {
	case errors.Is(err, ErrKeyNeeded):
		return false, fmt.Errorf("%w; give the key file that this state directory was used with", err)
	case errors.Is(err, ErrWrongKey):
		return false, fmt.Errorf("%w; give the key file that this state directory was used with, or move the file away", err)
	case err != nil:
		if _, told := errors.AsType[*DamagedError](err); !told {
			s.log.Error("a stored credential cannot be used", "device", e.id.String(), "error", err)
		}
		return false, nil
	}
	if e.slot == current {
		s.opened[e.id] = c
	}
	if s.key == nil || e.end == sealed && !oldKey {
		return true, nil
	}
	if err := s.write(e.id, e.slot, c); err != nil {
		// It can still be read, and a device that goes offline over this helps nobody.
		s.log.Error("a stored credential is not encrypted with the present key", "device", e.id.String(), "file", s.path(e), "error", err)
		return true, nil
	}
	s.log.Info("encrypted a stored credential", "device", e.id.String(), "slot", string(e.slot))
	return true, nil
}
