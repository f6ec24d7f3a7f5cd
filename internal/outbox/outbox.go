// Package outbox keeps the STORED messages of one device on disk until the platform has them.
//
//	callers ── Put ──▶ disk ──▶ levels ── Next ──▶ sender
//	callers ◀─ receipts ───── Settle, Return ◀──── sender
//
// A message is taken when it is on disk, and leaves the disk when it has ended: acknowledged, expired, or dropped. Until then it is
// sent again after each loss of the link and each restart, so the platform may get it twice. In memory there is a small entry for
// each message, in the order of sending; payloads only of those whose turn comes next.
//
// Nothing in here starts a goroutine. Tick must be called every second or so: it expires messages, repeats what the disk did not take,
// and hands out what is to be told of messages that have ended.
package outbox

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/measure"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// Why a message is not taken, or how it has ended.
var (
	// ErrFull: nothing was taken; or, as the reason of an end, the message made room for a newer one.
	ErrFull = errors.New("the device's outbox is full: wait until messages have been sent, raise its bounds, or let it drop the oldest")
	// ErrKeyConflict: nothing was taken.
	ErrKeyConflict = errors.New("the idempotency key is that of a message with other content: use another key for another message")
	// ErrExpired: the message was not sent.
	ErrExpired = errors.New("the message's time to live passed before it could be sent")
	// ErrForgotten: the device was.
	ErrForgotten = errors.New("the device was forgotten, and its messages with it")
	// ErrUnreadable: the message was not sent.
	ErrUnreadable = errors.New("the message's record on disk cannot be read")
)

// The bounds of an outbox unless Options say otherwise.
const (
	DefaultMaxMessages = 100_000
	DefaultMaxBytes    = 64 << 20
)

// Options bound each device's outbox.
type Options struct {
	MaxMessages int   // 0 is DefaultMaxMessages
	MaxBytes    int64 // of records; 0 is DefaultMaxBytes
	// DropOldest makes room for a new message by dropping the oldest of the lowest priority that waits. Else the new one is refused.
	DropOldest bool
	// TTL of messages that do not say; 0 is none.
	TTL time.Duration
	// OnDisk counts how long messages took from the app to the disk. It may be nil.
	OnDisk *measure.Histogram
}

func (o Options) withDefaults() Options {
	if o.MaxMessages <= 0 {
		o.MaxMessages = DefaultMaxMessages
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return o
}

const (
	// cacheBytes of payloads stay in memory for the messages whose turn comes next.
	cacheBytes = 1 << 20
	// readAhead is how many messages are read from disk at once.
	readAhead = 64
)

// Counters count since the process started.
type Counters struct{ Stored, Sent, Expired, Dropped, Refused uint64 }

// Status is what is in an outbox.
type Status struct {
	Messages int
	Bytes    int64
	Full     float64   // the part of its bounds that is used, of messages or bytes, whichever is more
	Oldest   time.Time // when the oldest was taken; zero when there is none
	Counters Counters
}

// Box is the outbox of one device.
type Box struct {
	id    device.ID
	queue string
	keys  *keys
	disk  message.Queues
	log   *slog.Logger
	o     Options
	ring  func() // is called when Next may have something, and must not wait

	// changing is held for reading while something is written to disk, so that Drop comes after that. It is taken before mu.
	changing sync.RWMutex

	mu       sync.Mutex
	levels   [message.MaxPriority + 1]level
	last     uint64 // number given out
	trace    uint64 // the number that is remembered by a trace; 0 is none
	messages int    // including those that are being written, without those that make room
	bytes    int64
	cached   int64
	unsaved  []message.Change // that the disk did not take
	news     news
	counters Counters
	closed   bool
	ailing   bool // the disk cannot be read, and that has been logged
	behind   bool // the disk does not take what has ended, and that has been logged
}

// Open reads what a device's outbox holds. ring is called when Next may have something: it must not wait, nor call the outbox.
func Open(id device.ID, disk message.Queues, o Options, ring func(), log *slog.Logger) (*Box, error) {
	b := &Box{id: id, queue: Queue(id), disk: disk, log: log.With("device", id), o: o.withDefaults(), ring: ring}
	var err error
	if b.keys, err = openKeys(id, disk, b.log); err != nil {
		return nil, err
	}
	b.last = b.keys.last
	var unreadable []uint64
	err = disk.ScanQueue(b.queue, func(sequence uint64, record []byte) error {
		b.last = max(b.last, sequence)
		if bytes.Equal(record, trace) {
			if b.trace != 0 {
				b.unsaved = append(b.unsaved, message.Change{Queue: b.queue, Sequence: b.trace})
			}
			b.trace = sequence
			return nil
		}
		e, err := readEntry(sequence, record)
		if err != nil {
			b.log.Error("a stored message cannot be read and is dropped", "sequence", sequence, "error", err)
			unreadable = append(unreadable, sequence)
			b.news.add(message.Dropped, ErrUnreadable, sequence)
			return nil
		}
		b.messages++
		b.bytes += int64(e.size)
		b.levels[e.priority].add(e)
		if e.key != "" {
			b.keys.pending[e.key] = e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, sequence := range unreadable {
		b.unsaved = append(b.unsaved, b.remove(sequence)...)
	}
	b.ring()
	return b, nil
}

const prefix = "out/"

// trace is the record that the message with the greatest number leaves: without it a restart would give the number again.
var trace = []byte{0}

// remove is what is to be changed on disk for a message to leave it. mu is held.
func (b *Box) remove(sequence uint64) []message.Change {
	if sequence != b.last {
		return []message.Change{{Queue: b.queue, Sequence: sequence}}
	}
	changes := []message.Change{{Queue: b.queue, Sequence: sequence, Record: trace}}
	if b.trace != 0 && b.trace != sequence {
		changes = append(changes, message.Change{Queue: b.queue, Sequence: b.trace})
	}
	b.trace = sequence
	return changes
}

// Queue names a device's outbox on disk.
func Queue(id device.ID) string { return prefix + id.String() + "/" }

// Stored names the devices that have something in an outbox.
func Stored(disk message.Queues) (ids []device.ID, err error) {
	names, err := disk.ListQueues(prefix)
	for _, name := range names {
		if id, err := device.ParseID(name[len(prefix) : len(name)-1]); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// Next takes the message whose turn it is, to be sent; its entry goes to Settle or Return. It is for one goroutine.
func (b *Box) Next() (*Entry, message.Outgoing, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		e := b.first(time.Now())
		if e == nil {
			return nil, message.Outgoing{}, false
		}
		if e.m == nil && !b.load(e) {
			return nil, message.Outgoing{}, false
		}
		if e.m != nil && e.state == waiting { // else load found that it is gone
			e.state = flying
			return e, *e.m, true
		}
	}
}

// first is the entry whose turn it is. mu is held.
func (b *Box) first(now time.Time) *Entry {
	for i := range b.levels {
		if e := b.levels[message.MaxPriority-i].first(now); e != nil {
			return e
		}
	}
	return nil
}

// load reads the payloads of e and of some that follow. mu is held, and let go while the disk is read.
func (b *Box) load(e *Entry) bool {
	var some []*Entry
	var sequences []uint64
	room := int64(cacheBytes)
	for _, next := range b.levels[e.priority].from(e) {
		if room -= int64(next.size); len(some) == readAhead || len(some) > 0 && room < 0 {
			break
		}
		if next.state == waiting && next.m == nil {
			some, sequences = append(some, next), append(sequences, next.sequence)
		}
	}
	b.mu.Unlock()
	records, err := b.disk.ReadQueue(b.queue, sequences)
	b.mu.Lock()
	if err != nil {
		if !b.ailing {
			b.log.Error("the outbox cannot be read; nothing of it is sent until it can", "error", err)
		}
		b.ailing = true
		return false
	}
	b.ailing = false
	for i, e := range some {
		if e.state != waiting {
			continue
		}
		m, err := decode(records[i])
		if err != nil {
			b.log.Error("a stored message cannot be read and is dropped", "sequence", e.sequence, "error", err)
			b.unsaved = append(b.unsaved, b.finish(e, message.Dropped, ErrUnreadable)...)
			continue
		}
		e.m = &m
		b.cached += int64(e.size)
	}
	return true
}

// Settle ends messages that the platform has acknowledged or, with QoS 0, that were written to the link.
func (b *Box) Settle(entries []*Entry) {
	b.mu.Lock()
	var changes []message.Change
	for _, e := range entries {
		outcome := message.Acknowledged
		if e.qos == 0 {
			outcome = message.Sent
		}
		changes = append(changes, b.finish(e, outcome, nil)...)
	}
	b.mu.Unlock()
	b.save(changes)
	b.tell(entries)
}

// Return gives back a message of which it is not known whether the platform has it. It is sent again in its old place.
func (b *Box) Return(e *Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.state == flying {
		e.state = waiting
		e.waitAnew()
		b.levels[e.priority].next = 0
	}
	b.ring()
}

// finish ends an entry in memory, and returns what is to be changed on disk. mu is held; who waits for the end is told by tell.
func (b *Box) finish(e *Entry, outcome message.Outcome, why error) []message.Change {
	if e.state == gone {
		return nil
	}
	if e.m != nil {
		b.cached -= int64(e.size)
		e.m = nil
	}
	if e.state != leaving {
		b.messages--
		b.bytes -= int64(e.size)
	}
	e.state, e.outcome, e.why = gone, outcome, why
	b.levels[e.priority].trim()
	switch outcome {
	case message.Acknowledged, message.Sent:
		b.counters.Sent++
	case message.Expired:
		b.counters.Expired++
	default:
		b.counters.Dropped++
	}
	b.news.add(outcome, why, e.sequence)
	changes := b.remove(e.sequence)
	if e.key != "" && !b.closed {
		changes = append(changes, b.keys.end(e, time.Now())...)
	}
	return changes
}

// save writes changes, or keeps them for the next Tick. What they say has happened, whether the disk takes note or not: at worst a
// message is sent again after a restart.
func (b *Box) save(changes []message.Change) {
	b.changing.RLock()
	defer b.changing.RUnlock()
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed || len(changes) == 0 { // all of it goes, or has gone; or there is nothing to write
		return
	}
	err := b.disk.ChangeQueue(changes)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.unsaved = append(b.unsaved, changes...)
	}
	if behind := err != nil; behind != b.behind {
		if b.behind = behind; behind {
			b.log.Error("the end of stored messages cannot be written down; it is tried again", "error", err)
		} else {
			b.log.Info("the end of stored messages is written down again")
		}
	}
}

// tell gives the receipts of entries that have ended.
func (b *Box) tell(entries []*Entry) {
	for _, e := range entries {
		b.mu.Lock()
		waiters := e.waiters
		e.waiters = nil
		b.mu.Unlock()
		for _, w := range waiters {
			w.box.Put(message.Receipt{ID: w.id, Outcome: e.outcome, Err: e.why, Sequence: e.sequence, Duplicate: w.duplicate})
		}
	}
}

// Tick expires messages, repeats what the disk did not take, and returns what is to be told.
func (b *Box) Tick(now time.Time) []Ended {
	b.mu.Lock()
	var expired []*Entry
	var changes []message.Change
	for i := range b.levels {
		for _, e := range b.levels[i].expired(now) {
			expired = append(expired, e)
			changes = append(changes, b.finish(e, message.Expired, ErrExpired)...)
		}
	}
	unsaved := b.unsaved
	b.unsaved = nil
	changes = append(changes, b.keys.trim(now)...)
	if b.ailing {
		b.ring()
	}
	b.mu.Unlock()
	if changes = slices.Concat(unsaved, changes); len(changes) > 0 {
		b.save(changes)
	}
	b.tell(expired)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news.take()
}

// Status is what is in the outbox.
func (b *Box) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Messages: b.messages, Bytes: b.bytes, Counters: b.counters}
	s.Full = max(float64(b.messages)/float64(b.o.MaxMessages), float64(b.bytes)/float64(b.o.MaxBytes))
	for i := range b.levels {
		if e := b.levels[i].oldest(); e != nil && (s.Oldest.IsZero() || e.taken.Before(s.Oldest)) {
			s.Oldest = e.taken
		}
	}
	return s
}

// Drop removes everything, and takes nothing more: the device was forgotten. It returns what is to be told.
func (b *Box) Drop() ([]Ended, error) {
	b.mu.Lock()
	b.closed = true
	var all []*Entry
	for i := range b.levels {
		for _, e := range slices.Clone(b.levels[i].entries) {
			if e.state != gone && e.state != writing { // of what is being written, Put tells
				all = append(all, e)
				b.finish(e, message.Dropped, ErrForgotten)
			}
		}
	}
	b.unsaved = nil
	told := b.news.take()
	b.mu.Unlock()
	b.tell(all)
	b.changing.Lock()
	defer b.changing.Unlock()
	return told, Remove(b.id, b.disk)
}

// Remove takes away all that is on disk of a device's outbox, which is not open.
func Remove(id device.ID, disk message.Queues) error {
	return errors.Join(disk.DropQueues(Queue(id)), disk.DropQueues(endedQueue(id)))
}
