// Package inbox keeps messages from the platform on disk until an app has dealt with them.
//
//	link ── Arrive ──▶ disk ──▶ boxes ── Now ──▶ consumers
//	                     ◀──────────── Answer ──┘
//
// A Shelf has the inboxes of one device. A message that arrives goes into every inbox with a filter that matches, all in one sync;
// only then may the platform be told that it has been received. In memory an inbox has a small entry for each message, and the
// payloads of those whose turn comes next.
//
// Nothing in here starts a goroutine or waits for anything but the disk. Tick must be called every second or so.
package inbox

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Why a Shelf does not do what it was asked.
var (
	// ErrUnknown: there is no such inbox, or no longer.
	ErrUnknown = errors.New("the device has no inbox of this name: consume it with filters to make one")
	// ErrConflict: nothing was changed.
	ErrConflict = errors.New("the inbox has other filters: leave the filters out, or give `replace` to change them for everybody")
	// ErrNotEmpty: nothing was deleted.
	ErrNotEmpty = errors.New("there are messages in the inbox: consume them first, or give `force`")
	// ErrTooMany: nothing was made.
	ErrTooMany = fmt.Errorf("the device has %d inboxes, which is as many as it may: delete some", maxBoxes)
)

const (
	// maxBoxes is how many inboxes a device may have, dead letters included.
	maxBoxes = 200
	// cacheBytes of payloads stay in memory for the messages of one inbox whose turn comes next.
	cacheBytes = 1 << 20
	// dead is what the name of an inbox's dead letters has behind its own.
	dead = "~dead"
)

// The bounds of each inbox unless Options say otherwise.
const (
	DefaultMaxMessages = 100_000
	DefaultMaxBytes    = 64 << 20
)

// Options bound each inbox. One that is full drops its oldest message for the new one: it must not hold up the others.
type Options struct {
	MaxMessages int   // 0 is DefaultMaxMessages
	MaxBytes    int64 // of records; 0 is DefaultMaxBytes
	// Counters count for all shelves together that are given them. They may be nil.
	Counters *Counters
}

// Settings are what an inbox keeps. Their JSON is on disk.
type Settings struct {
	Filters       []string `json:"filters"`        // sorted, none twice
	MaxDeliveries int      `json:"max_deliveries"` // 0 is no limit
}

// Info is what is known of an inbox.
type Info struct {
	Name string
	Settings
	Messages, Unanswered, Consumers int
	Bytes                           int64
	Oldest                          time.Time // zero when it is empty
}

// Losses are messages that left inboxes without having been dealt with, since they were last asked for.
type Losses struct {
	Full, Dead, Dropped uint64
	Topic               string // of the last one
}

// Shelf has the inboxes of one device.
type Shelf struct {
	id   device.ID
	disk message.Queues
	log  *slog.Logger
	o    Options

	// changing is held for reading while what may come late is written to disk, so that Drop comes after that. It is taken before mu.
	changing sync.RWMutex
	wanted   atomic.Pointer[[]string] // the filters of all inboxes: a message that arrives must not wait for mu, and the disk

	mu      sync.Mutex
	closed  bool // the device was forgotten
	boxes   map[string]*Box
	unsaved []message.Change // that the disk did not take
	behind  bool             // it does not take them, and that has been logged
	losses  Losses
}

const prefix, triesPrefix = "in/", "tries/"

func queueOf(id device.ID, name string) string { return prefix + id.String() + "/" + name + "/" }
func triesOf(id device.ID, name string) string { return triesPrefix + id.String() + "/" + name + "/" }

// Stored names the devices that have inboxes.
func Stored(disk message.Queues) ([]device.ID, error) {
	names, err := disk.ListQueues(prefix)
	ids := map[device.ID]bool{}
	for _, name := range names {
		parts := strings.Split(name, "/")
		if len(parts) != 5 {
			continue
		}
		if id, err := device.ParseID(parts[1] + "/" + parts[2]); err == nil {
			ids[id] = true
		}
	}
	return slices.Collect(maps.Keys(ids)), err
}

// Open reads the inboxes of a device.
func Open(id device.ID, disk message.Queues, o Options, log *slog.Logger) (*Shelf, error) {
	if o.MaxMessages <= 0 {
		o.MaxMessages = DefaultMaxMessages
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	s := &Shelf{id: id, disk: disk, log: log.With("device", id), o: o, boxes: map[string]*Box{}}
	start := prefix + id.String() + "/"
	names, err := disk.ListQueues(start)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b := newBox(s, strings.TrimSuffix(name[len(start):], "/"))
		if err := b.read(); err != nil {
			return nil, err
		}
		s.boxes[b.name] = b
	}
	s.note()
	return s, nil
}

// Make returns an inbox, made if there is none. No filters are those that it has; others are an error unless replace.
func (s *Shelf) Make(name string, want Settings, replace bool) (*Box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[name]
	switch {
	case s.closed || b == nil && len(want.Filters) == 0:
		return nil, ErrUnknown
	case b == nil && len(s.boxes) >= maxBoxes:
		return nil, ErrTooMany
	case b == nil:
		b = newBox(s, name)
	case len(want.Filters) == 0:
		want.Filters = b.settings.Filters
	case !replace && !slices.Equal(want.Filters, b.settings.Filters):
		return nil, ErrConflict
	}
	if want.MaxDeliveries == 0 {
		want.MaxDeliveries = b.settings.MaxDeliveries
	}
	if s.boxes[name] == b && slices.Equal(want.Filters, b.settings.Filters) && want.MaxDeliveries == b.settings.MaxDeliveries {
		return b, nil
	}
	if err := s.define(b, want); err != nil {
		return nil, err
	}
	return b, nil
}

// define writes down an inbox and its settings: they are record 0 of its queue. mu is held.
func (s *Shelf) define(b *Box, settings Settings) error {
	record, err := message.Encode(settings, nil)
	if err != nil {
		return err
	}
	if err := s.disk.ChangeQueue([]message.Change{{Queue: b.queue, Sequence: 0, Record: record}}); err != nil {
		return err
	}
	b.settings = settings
	s.boxes[b.name] = b
	s.note()
	return nil
}

// note makes the filters known to Wants. mu is held.
func (s *Shelf) note() {
	var all []string
	for _, b := range s.boxes {
		all = append(all, b.settings.Filters...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	s.wanted.Store(&all)
}

// Wants reports whether a message on the topic goes into an inbox. It waits for nothing.
func (s *Shelf) Wants(topic string) bool { return platform.MatchAny(*s.wanted.Load(), topic) }

// Filters are those of all inboxes, sorted, none twice. They are the Shelf's: do not change them.
func (s *Shelf) Filters() []string { return *s.wanted.Load() }

// Arrive puts messages into every inbox that wants them, and returns when they are on disk. It is for one goroutine.
func (s *Shelf) Arrive(messages []message.Incoming) error {
	type arrival struct {
		b *Box
		e *entry
	}
	var arrivals []arrival
	var changes []message.Change
	s.mu.Lock()
	for _, m := range messages {
		for _, b := range s.boxes {
			if !b.wants(m.Topic) {
				continue
			}
			b.last++
			e, record, err := newEntry(b.last, m)
			if err != nil {
				s.mu.Unlock()
				return err
			}
			arrivals = append(arrivals, arrival{b, e})
			changes = append(changes, message.Change{Queue: b.queue, Sequence: e.sequence, Record: record})
		}
	}
	s.mu.Unlock()
	if err := s.disk.ChangeQueue(changes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range arrivals {
		if a.b.gone { // deleted meanwhile: the record came after that
			s.unsaved = append(s.unsaved, message.Change{Queue: a.b.queue, Sequence: a.e.sequence})
			continue
		}
		a.b.add(a.e)
		s.unsaved = append(s.unsaved, a.b.makeRoom()...)
	}
	return nil
}

// Delete removes an inbox and its dead letters. With force also one that holds messages.
func (s *Shelf) Delete(name string, force bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[name]
	if b == nil {
		return ErrUnknown
	}
	if len(b.entries) > 0 && !force {
		return ErrNotEmpty
	}
	if err := errors.Join(s.disk.DropQueues(b.queue), s.disk.DropQueues(b.tries)); err != nil {
		return err
	}
	// What was still to be taken away went with it, and must not meet a new inbox of the same name.
	s.unsaved = slices.DeleteFunc(s.unsaved, func(c message.Change) bool { return c.Queue == b.queue || c.Queue == b.tries })
	delete(s.boxes, name)
	s.note()
	b.end()
	return nil
}

// Drop removes all inboxes: the device was forgotten.
func (s *Shelf) Drop() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range s.boxes {
		b.end()
	}
	clear(s.boxes)
	s.note()
	s.unsaved = nil
	return Remove(s.id, s.disk)
}

// Remove takes away all that is on disk of a device's inboxes, which are not open.
func Remove(id device.ID, disk message.Queues) error {
	return errors.Join(disk.DropQueues(prefix+id.String()+"/"), disk.DropQueues(triesPrefix+id.String()+"/"))
}

// Empty reports whether there is no inbox.
func (s *Shelf) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.boxes) == 0
}

// List tells of all inboxes, by name.
func (s *Shelf) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Info, 0, len(s.boxes))
	for _, b := range s.boxes {
		all = append(all, b.info())
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Tick moves messages to the dead letters, repeats what the disk did not take, and returns what was lost.
func (s *Shelf) Tick(now time.Time) Losses {
	s.mu.Lock()
	changes := s.unsaved
	s.unsaved = nil
	boxes := slices.Collect(maps.Values(s.boxes))
	for _, b := range boxes {
		changes = append(changes, b.wake(now)...)
	}
	s.mu.Unlock()
	if len(changes) > 0 {
		s.save(changes)
	}
	for _, b := range boxes {
		s.bury(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	losses := s.losses
	s.losses = Losses{}
	return losses
}

// save writes changes, or keeps them for the next Tick. At worst a message that was dealt with comes again after a restart.
func (s *Shelf) save(changes []message.Change) (saved bool) {
	s.changing.RLock()
	defer s.changing.RUnlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed { // all of it has gone
		return false
	}
	if len(changes) == 0 {
		return true
	}
	err := s.disk.ChangeQueue(changes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.unsaved = append(s.unsaved, changes...)
	}
	if behind := err != nil; behind != s.behind {
		if s.behind = behind; behind {
			s.log.Error("what became of messages in inboxes cannot be written down; it is tried again", "error", err)
		} else {
			s.log.Info("what became of messages in inboxes is written down again")
		}
	}
	return err == nil
}

// bury moves what was delivered too often to the dead letters.
func (s *Shelf) bury(b *Box) {
	s.mu.Lock()
	worn := b.worn
	b.worn = nil
	s.mu.Unlock()
	for i, e := range worn {
		err := s.buryOne(b, e)
		if err == nil {
			s.mu.Lock()
			b.stuck = false
			s.mu.Unlock()
			continue
		}
		s.mu.Lock()
		b.worn = append(worn[i:], b.worn...)
		told := b.stuck
		b.stuck = true
		s.mu.Unlock()
		if !told {
			s.log.Error("messages cannot be moved to the dead letters; it is tried again", "inbox", b.name, "messages", len(worn)-i, "error", err)
		}
		return
	}
}

func (s *Shelf) buryOne(b *Box, e *entry) error {
	records, err := s.disk.ReadQueue(b.queue, []uint64{e.sequence})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.gone {
		return nil
	}
	grave := s.boxes[b.name+dead]
	if grave == nil {
		grave = newBox(s, b.name+dead)
		if err := s.define(grave, Settings{}); err != nil {
			return err
		}
	}
	changes := b.forget(e)
	if records[0] == nil {
		s.unsaved = append(s.unsaved, changes...)
		return nil
	}
	letter := *e
	letter.sequence, letter.m, letter.count = grave.last+1, nil, 0
	if err := s.disk.ChangeQueue(append(changes, message.Change{Queue: grave.queue, Sequence: letter.sequence, Record: records[0]})); err != nil {
		b.add(e)
		b.take(e)
		return err
	}
	grave.last++
	grave.add(&letter)
	s.unsaved = append(s.unsaved, grave.makeRoom()...)
	s.losses.Dead++
	s.losses.Topic = e.topic
	return nil
}
