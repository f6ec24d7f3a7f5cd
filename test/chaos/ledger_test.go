package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// ledger is what everybody has written down: the producer what it sent and which receipts it got, the platform what arrived, the
// platform's apps what they were told of messages for the device, and the consumer what it got.
type ledger struct {
	mu      sync.Mutex
	up      map[int]*upMessage
	down    map[int]*downMessage
	kills   []time.Time    // of the sidecar, without a farewell
	done    map[string]int // what the driver did
	settled map[uint64]int // sequences of the inbox that were dealt with for good, and the number of their message
	wrong   []string       // what was seen at once not to be as promised
}

// upMessage is one message to the platform.
type upMessage struct {
	number         int
	stored         bool
	key            string
	priority       uint32
	given          int       // how often
	unanswered     int       // of these, streams that broke before a receipt
	refused        int       // receipts that say that it was not taken, or not sent
	taken          bool      // a receipt says that it is on disk
	unknown        bool      // CONFIRMED, and the link was lost
	acknowledged   time.Time // when a receipt first said so
	known          int       // receipts that say that its key was known
	sequences      map[uint64]bool
	arrivals       []arrival
	reasonsRefused map[pb.ErrorReason]int
}

// arrival is one at the platform.
type arrival struct {
	at         time.Time
	platform   int // which life of it
	place      uint64
	connection uint64
}

// downMessage is one message to the device.
type downMessage struct {
	told     sandboxv1.Delivery // unspecified: the call failed, and nothing is known
	inbox    map[uint64]bool    // its sequences in the inbox, and whether they had MQTT's DUP
	received int
	again    int // of these, deliveries that had not been answered before
}

func newLedger() *ledger {
	return &ledger{up: map[int]*upMessage{}, down: map[int]*downMessage{}, done: map[string]int{}, settled: map[uint64]int{}}
}

func (l *ledger) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[what]++
}

func (l *ledger) killed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills = append(l.kills, time.Now())
}

// gave notes a message that is about to be sent to the sidecar.
func (l *ledger) gave(m *pb.OutgoingMessage, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.up[number]
	if u == nil {
		u = &upMessage{
			number: number, stored: m.Assurance == pb.Assurance_ASSURANCE_STORED, key: m.Key, priority: m.Priority,
			sequences: map[uint64]bool{}, reasonsRefused: map[pb.ErrorReason]int{},
		}
		l.up[number] = u
	}
	u.given++
}

// broke notes a message whose stream ended before its first receipt.
func (l *ledger) broke(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up[number].unanswered++
}

// receipt notes what became of a message.
func (l *ledger) receipt(number int, r *pb.Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.up[number]
	if r.Duplicate {
		u.known++
	}
	if r.Sequence != 0 {
		u.sequences[r.Sequence] = true
	}
	switch r.Outcome {
	case pb.Outcome_OUTCOME_STORED:
		u.taken = true
	case pb.Outcome_OUTCOME_ACKNOWLEDGED:
		if u.acknowledged.IsZero() {
			u.acknowledged = time.Now()
		}
	case pb.Outcome_OUTCOME_UNKNOWN:
		u.unknown = true
	case pb.Outcome_OUTCOME_FAILED:
		u.refused++
		u.reasonsRefused[r.Reason]++
	default:
		l.done["receipts "+r.Outcome.String()]++
	}
}

// arrived notes what the platform has.
func (l *ledger) arrived(platform int, all []*sandboxv1.PublishedMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range all {
		var number int
		if _, err := fmt.Sscan(string(m.Payload), &number); err != nil || l.up[number] == nil {
			l.wrong = append(l.wrong, fmt.Sprintf("the platform has %q, which nobody sent", m.Payload))
			continue
		}
		u := l.up[number]
		u.arrivals = append(u.arrivals, arrival{m.ReceiveTime.AsTime(), platform, m.Number, m.ConnectionId})
	}
}

// told notes what the platform said of a message for the device.
func (l *ledger) told(number int, d sandboxv1.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toDevice(number).told = d
}

// toDevice is the entry of a message for the device. mu is held.
func (l *ledger) toDevice(number int) *downMessage {
	if l.down[number] == nil {
		l.down[number] = &downMessage{inbox: map[uint64]bool{}}
	}
	return l.down[number]
}

// delivered notes what the consumer got.
func (l *ledger) delivered(d *pb.Delivery) (number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := fmt.Sscan(string(d.Message.Payload), &number); err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("the consumer got %q, which nobody sent", d.Message.Payload))
		return 0
	}
	if other, settled := l.settled[d.Sequence]; settled {
		l.wrong = append(l.wrong, fmt.Sprintf("number %d of the inbox is message %d, and was dealt with for good as message %d", d.Sequence, number, other))
	}
	m := l.toDevice(number)
	if _, known := m.inbox[d.Sequence]; known {
		m.again++
	}
	m.inbox[d.Sequence] = d.Message.Duplicate
	m.received++
	return number
}

// answered notes that an answer is on disk.
func (l *ledger) answered(sequence uint64, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled[sequence] = number
}

// killedBetween reports whether the sidecar was killed between two times.
func (l *ledger) killedBetween(from, to time.Time) bool {
	return slices.ContainsFunc(l.kills, func(k time.Time) bool { return k.After(from) && k.Before(to) })
}

// judge compares what was promised with what came, and returns a summary and all that is wrong.
func (l *ledger) judge() (summary string, wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := &judgement{ledger: l, count: map[string]int{}, bySequence: map[uint64]int{}, byPriority: map[uint32][]*upMessage{}}
	for _, n := range slices.Sorted(maps.Keys(l.up)) {
		j.up(l.up[n])
	}
	j.order()
	for _, n := range slices.Sorted(maps.Keys(l.down)) {
		j.down(n, l.down[n])
	}
	var text strings.Builder
	for _, part := range []map[string]int{l.done, j.count} {
		for _, what := range slices.Sorted(maps.Keys(part)) {
			fmt.Fprintf(&text, "\n%7d  %s", part[what], what)
		}
	}
	return text.String(), append(l.wrong, j.wrong...)
}

type judgement struct {
	*ledger
	count      map[string]int
	wrong      []string
	bySequence map[uint64]int
	byPriority map[uint32][]*upMessage
}

func (j *judgement) fail(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

func (j *judgement) up(u *upMessage) {
	came := len(u.arrivals)
	slices.SortFunc(u.arrivals, func(a, b arrival) int {
		return cmp.Or(cmp.Compare(a.platform, b.platform), cmp.Compare(a.place, b.place))
	})
	j.count["up: arrived"] += came
	if u.stored {
		j.upStored(u, came)
	} else {
		j.upConfirmed(u, came)
	}
	for reason, n := range u.reasonsRefused {
		j.count["up: refused with "+strings.TrimPrefix(reason.String(), "ERROR_REASON_")] += n
	}
	if u.unanswered > 0 {
		j.count["up: receipts that a broken stream kept back"] += u.unanswered
	}
}

func (j *judgement) upStored(u *upMessage, came int) {
	j.count["up: STORED messages"]++
	if u.key != "" {
		j.count["up: STORED messages with a key"]++
	}
	j.count["up: receipts of a known key"] += u.known
	promised := u.taken || !u.acknowledged.IsZero()
	switch {
	case promised:
		j.count["up: STORED messages that were taken"]++
		if came == 0 {
			j.fail("STORED message %d (sequence %v) has a receipt and never came", u.number, slices.Collect(maps.Keys(u.sequences)))
		}
	case u.unanswered == 0 && came > 0:
		j.fail("STORED message %d was refused each of %d times, and came", u.number, u.given)
	}
	if len(u.sequences) > 1 {
		j.fail("STORED message %d with the key %q was taken as %v", u.number, u.key, slices.Sorted(maps.Keys(u.sequences)))
	}
	for s := range u.sequences {
		if other, taken := j.bySequence[s]; taken {
			j.fail("STORED messages %d and %d have the number %d", other, u.number, s)
		}
		j.bySequence[s] = u.number
	}
	for i := 1; i < came; i++ {
		before, again := u.arrivals[i-1], u.arrivals[i]
		switch {
		case before.platform == again.platform && before.connection == again.connection:
			j.fail("STORED message %d came twice over one link", u.number)
		case !u.acknowledged.IsZero() && again.at.After(u.acknowledged):
			j.fail("STORED message %d came again after its receipt had said that it was acknowledged", u.number)
		case j.killedBetween(before.at, again.at):
			j.count["up: came again, the sidecar was killed"]++
		default:
			j.count["up: came again, the link was lost"]++
		}
	}
	if came > 0 && len(u.sequences) == 1 {
		j.byPriority[u.priority] = append(j.byPriority[u.priority], u)
	}
}

func (j *judgement) upConfirmed(u *upMessage, came int) {
	j.count["up: CONFIRMED messages"]++
	switch {
	case came > 1:
		j.fail("CONFIRMED message %d came %d times", u.number, came)
	case !u.acknowledged.IsZero():
		j.count["up: CONFIRMED messages that were acknowledged"]++
		if came == 0 {
			j.fail("CONFIRMED message %d was acknowledged and never came", u.number)
		}
	case u.refused > 0 && came > 0:
		j.fail("CONFIRMED message %d was said not to be sent (%v), and came", u.number, u.reasonsRefused)
	case u.unknown:
		j.count[fmt.Sprintf("up: CONFIRMED messages of unknown outcome that came %d times", came)]++
	}
}

// order checks that messages of one priority came, for the first time, in the order of their numbers.
func (j *judgement) order() {
	for priority, all := range j.byPriority {
		slices.SortFunc(all, func(a, b *upMessage) int {
			return cmp.Or(cmp.Compare(a.arrivals[0].platform, b.arrivals[0].platform), cmp.Compare(a.arrivals[0].place, b.arrivals[0].place))
		})
		before := uint64(0)
		for _, u := range all {
			for s := range u.sequences {
				if s < before {
					j.fail("STORED message %d of priority %d came as number %d behind number %d", u.number, priority, s, before)
				}
				before = s
			}
		}
	}
}

func (j *judgement) down(number int, m *downMessage) {
	j.count["down: messages"]++
	j.count["down: "+strings.TrimPrefix(m.told.String(), "DELIVERY_")]++
	promised := m.told == sandboxv1.Delivery_DELIVERY_SENT || m.told == sandboxv1.Delivery_DELIVERY_QUEUED
	if promised && m.received == 0 {
		j.fail("message %d for the device was %v and never came", number, m.told)
	}
	if !promised && m.told != sandboxv1.Delivery_DELIVERY_UNSPECIFIED && m.received > 0 {
		j.fail("message %d for the device was %v and came", number, m.told)
	}
	j.count["down: received"] += m.received
	j.count["down: came again, it had not been answered"] += m.again
	unmarked := 0
	for _, duplicate := range m.inbox {
		if duplicate {
			j.count["down: sent by the platform again (DUP)"]++
		} else {
			unmarked++
		}
	}
	if unmarked > 1 {
		j.fail("message %d for the device came %d times without MQTT's DUP", number, unmarked)
	}
}
