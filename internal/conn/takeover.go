package conn

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

const (
	// A rival is given this long, drawn anew each time, before the device logs in again: two that fight for ever would both be
	// refused for their many logins.
	truceMin, truceMax = time.Minute, 2 * time.Minute
	// shortlived is how soon after CONNACK a kick comes when two programs fight over one identity. It is longer than a truce, so
	// that the one whose rival slows down first comes to know of it too.
	shortlived = 3 * time.Minute
	// shortlivedInARow is how many such links in a row are no chance any more.
	shortlivedInARow = 3
	// peace is how long a link must hold before a suspicion is dropped.
	peace = 10 * time.Minute
)

// takeover suspects another program of logging in as the same device. On MQTT 3.1.1 a kicked device only sees the server close
// the socket, so what counts is that the *server* took its leave in an orderly way, soon after accepting, again and again.
// Resets, silence and cuts are the network's doing and never count.
type takeover struct {
	inARow    int
	suspected bool
}

// lost notes how a link ended and reports whether a takeover is (still) suspected, and whether that is new.
func (t *takeover) lost(f *Failure, held time.Duration) (suspected, news bool) {
	kicked := f.Cause == event.CauseClosedByServer && f.goodbye
	switch {
	case t.suspected:
		t.suspected = held < peace
		if kicked {
			t.inARow++
		}
		if !t.suspected {
			t.inARow = 0
		}
		return t.suspected, false
	case !kicked || held >= shortlived:
		t.inARow = 0
		return false, false
	}
	t.inARow++
	t.suspected = t.inARow >= shortlivedInARow
	return t.suspected, t.suspected
}
