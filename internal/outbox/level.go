package outbox

import (
	"slices"
	"time"
)

// level is the messages of one priority, in the order in which they are sent.
type level struct {
	entries []*Entry
	next    int       // no entry before this one waits, or is being written
	nearest time.Time // no entry expires before this; zero: none does
}

func (l *level) add(e *Entry) {
	l.entries = append(l.entries, e)
	if !e.expires.IsZero() && (l.nearest.IsZero() || e.expires.Before(l.nearest)) {
		l.nearest = e.expires
	}
}

// first is the first entry that waits, unless one before it is still being written.
func (l *level) first(now time.Time) *Entry {
	for ; l.next < len(l.entries); l.next++ {
		e := l.entries[l.next]
		if e.state == writing {
			return nil
		}
		if e.state == waiting && (e.expires.IsZero() || now.Before(e.expires)) {
			return e
		}
	}
	return nil
}

// from is the entries from e on, which is the first that waits.
func (l *level) from(*Entry) []*Entry { return l.entries[l.next:] }

// oldest is the first entry that has not ended.
func (l *level) oldest() *Entry {
	for _, e := range l.entries {
		if e.state != gone {
			return e
		}
	}
	return nil
}

// trim lets go of entries that have ended, at the front.
func (l *level) trim() {
	n := 0
	for n < len(l.entries) && l.entries[n].state == gone {
		l.entries[n] = nil
		n++
	}
	l.entries = l.entries[n:]
	l.next = max(0, l.next-n)
	if len(l.entries) == 0 {
		l.entries = nil
	}
}

// expired are the entries whose time has passed while they wait.
func (l *level) expired(now time.Time) (all []*Entry) {
	if l.nearest.IsZero() || now.Before(l.nearest) {
		return nil
	}
	l.nearest = time.Time{}
	for _, e := range l.entries {
		switch {
		case e.expires.IsZero() || e.state == gone:
		case e.state == waiting && !now.Before(e.expires):
			all = append(all, e)
		case l.nearest.IsZero() || e.expires.Before(l.nearest):
			l.nearest = e.expires // one that is being sent is looked at again: it may come back
		}
	}
	if all != nil {
		l.compact()
	}
	return all
}

// compact lets go of all entries that have ended, those in the middle too.
func (l *level) compact() {
	l.entries = slices.DeleteFunc(l.entries, func(e *Entry) bool { return e.state == gone })
	l.next = 0
}
