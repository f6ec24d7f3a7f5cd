package credential

import (
	"errors"
	"os"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// A candidate is a credential that an app has given and the platform has not accepted yet. It lies beside the current
// one, so that a typing mistake in an app cannot replace a secret that works.

// PutCandidate stores c as the candidate of a device, in place of an earlier candidate; it promises what Put promises.
func (s *Store) PutCandidate(id device.ID, c Credential) error {
	return s.with(id, "store the candidate credential", func() error { return s.write(id, candidate, c) })
}

// Candidate is the candidate of a device; its errors are those of Get.
func (s *Store) Candidate(id device.ID) (c Credential, err error) {
	err = s.with(id, "read the candidate credential", func() error {
		c, _, err = s.find(id, candidate)
		return err
	})
	return c, err
}

// Promote makes the candidate of a device its current credential, in one step that survives a power cut. Without a
// candidate it leaves the current one as it is, so it can be repeated; with neither the error is ErrNotFound.
func (s *Store) Promote(id device.ID) error {
	return s.with(id, "promote the candidate credential", func() error { return s.promote(id) })
}

func (s *Store) promote(id device.ID) error {
	c, from, err := s.find(id, candidate)
	if errors.Is(err, ErrNotFound) {
		_, _, err = s.find(id, current)
		return err
	}
	if err != nil {
		return err
	}
	mine, other := s.forms()
	if from.end != mine { // put there by hand, or not encrypted for lack of room when the store was opened
		if err := s.write(id, candidate, c); err != nil {
			return err
		}
		from = fileOf(id, candidate, mine)
	}
	to, outdated := fileOf(id, current, mine), fileOf(id, current, other)
	if err := errors.Join(s.spare(to), s.spare(outdated)); err != nil {
		return err
	}
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		return statedir.NoRoom(err)
	}
	return errors.Join(statedir.Sync(s.dir), removeDurably(s.dir, outdated))
}

// DropCandidate forgets the candidate of a device; none is fine.
func (s *Store) DropCandidate(id device.ID) error {
	return s.with(id, "drop the candidate credential", func() error {
		return removeDurably(s.dir, fileOf(id, candidate, plain), fileOf(id, candidate, sealed))
	})
}
