package credential

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestWhatWasSetAsideIsToldAlsoAfterALookInVain: the directory is read once, and again when there is something new in it.
func TestWhatWasSetAsideIsToldAlsoAfterALookInVain(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	if err := s.Put(dev("a"), secret("s")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Candidate(dev("a"))
	if !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "aside") {
		t.Fatalf("a candidate that was never there: %v", err)
	}
	write(t, dir, fileOf(dev("a"), candidate, plain).name, []byte("{"), 0o600)
	_, err = s.Candidate(dev("a"))
	damaged, found := errors.AsType[*DamagedError](err)
	if !found || damaged.SetAside == "" {
		t.Fatalf("a damaged one: %v", err)
	}
	if _, err = s.Candidate(dev("a")); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), damaged.SetAside) {
		t.Errorf("after it was set aside: %v", err)
	}
	if err := os.Remove(damaged.SetAside); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Candidate(dev("a")); !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "aside") {
		t.Errorf("after somebody took it away: %v", err)
	}
}
