package conn

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// The control packet types of MQTT 3.1.1, section 2.2.1, as the upper half of a packet's first byte.
const (
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
)

const (
	// maxInbound is the longest body of a packet that the platform sends: its largest payload, a topic, and their lengths.
	maxInbound = platform.MaxPayloadBytes + 1024
	// maxTopic is the longest topic that the platform sends, with what it puts before it. It fits into the guard's buffer.
	maxTopic = 1000
	// maxHeader is the length of a fixed header: a type, and a remaining length of up to four bytes.
	maxHeader = 5
	// maxShort is the longest body of any other packet than PUBLISH: a SUBACK for as many filters as a SUBSCRIBE may have.
	maxShort = 2 + platform.MaxFiltersPerSubscribe
	// writeTimeout is how long a peer may take for writeChunk bytes. The MQTT library itself would wait for ever.
	writeTimeout = 10 * time.Second
	// writeChunk is small enough for the slowest link that is of use, and as much as fits into one record of TLS.
	writeChunk = 16 << 10
)

// unsubscribe stands in guard.asked for an UNSUBSCRIBE, where a SUBSCRIBE has its number of filters.
const unsubscribe = -1

// guard is the connection that the MQTT library is given. The library trusts its peer: five bytes from it allocate 255 MiB,
// a SUBACK with too many codes panics, CONNACK 6 counts as success, an UNSUBACK confirms a message, and a write to a peer that
// stopped reading never ends. So each packet's header, and each short packet whole, is checked here before the library sees a byte of
// it, and each write has a deadline. The first failure, of any kind, is kept, closes the connection and is told to whoever asked.
//
// Read is called by one goroutine at a time. Writes may meet: the library sends its pings from a goroutine of their own.
type guard struct {
	net.Conn
	in      *bufio.Reader // lent by desks; nil while the next packet is waited for
	checked []byte        // of the packet being read: header, or a whole short packet, already checked and not yet handed on
	body    int           // bytes of the packet's body that are still to be handed on after checked
	store   [maxHeader + maxShort]byte

	// writing is held during a Write, so that the deadline is that of the one who writes. A channel, not a mutex: tests have time pass
	// while somebody waits for it.
	writing  chan struct{}
	gathered gathered

	mu           sync.Mutex
	failure      *Failure
	bury         func(*Failure) // is told of the first failure; may be nil
	connack      int            // the code seen, -1 before
	asked        map[uint16]int // SUBSCRIBE packets under way: how many filters each has; or unsubscribe. nil before the first
	pingUnheard  bool           // a PINGREQ went out and no PINGRESP has come
	bytesIn, out atomic.Uint64
}

func newGuard(c net.Conn) *guard {
	g := &guard{Conn: c, connack: -1, writing: make(chan struct{}, 1)}
	var ours bool
	if g.gathered.intake, ours = g.beneath().(*intake); !ours {
		g.gathered.intake = &intake{Conn: c}
		g.Conn = g.gathered.intake
	}
	return g
}

// fail keeps the first failure, closes the connection and returns what Read and Write shall return.
func (g *guard) fail(f *Failure) error {
	g.mu.Lock()
	bury := g.bury
	if g.failure == nil {
		g.failure = f
	} else {
		bury = nil
	}
	first := g.failure
	g.mu.Unlock()
	if bury != nil {
		bury(first)
	}
	_ = g.beneath().Close() // TLS's farewell would wait for a peer that takes no bytes
	return first
}

// whenDead has bury called with the first failure: now, if there was one.
func (g *guard) whenDead(bury func(*Failure)) {
	g.mu.Lock()
	g.bury = bury
	f := g.failure
	g.mu.Unlock()
	if f != nil {
		bury(f)
	}
}

// beneath is the connection under TLS, if there is TLS.
func (g *guard) beneath() net.Conn {
	if secure, ok := g.Conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return g.Conn
}

// Failure is the first failure, or nil.
func (g *guard) Failure() *Failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// Close closes the connection; that is no failure. TLS says farewell first, unless the peer takes no bytes.
func (g *guard) Close() error {
	hurry := time.AfterFunc(farewell, func() { _ = g.beneath().Close() })
	defer hurry.Stop()
	return g.Conn.Close()
}

// SetDeadline sets the deadline of reads alone. That of writes is the guard's: the library takes it away again after each of its own,
// also from a ping that is being written meanwhile.
func (g *guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// SetWriteDeadline does nothing; see SetDeadline.
func (*guard) SetWriteDeadline(time.Time) error { return nil }

// code is the CONNACK code that came, -1 when none did.
func (g *guard) code() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.connack
}

// waitsForPing reports whether the last PINGREQ is unanswered.
func (g *guard) waitsForPing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pingUnheard
}

func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(g.checked) == 0 && g.body == 0 {
		if err := g.nextPacket(); err != nil {
			if f, ok := errors.AsType[*Failure](err); ok {
				return 0, g.fail(f)
			}
			if errors.Is(err, net.ErrClosed) {
				return 0, err // we closed it
			}
			return 0, g.fail(streamFailure(err))
		}
	}
	if len(g.checked) > 0 {
		n := copy(p, g.checked)
		g.checked = g.checked[n:]
		return n, nil
	}
	n, err := g.in.Read(p[:min(len(p), g.body)])
	g.body -= n
	g.bytesIn.Add(uint64(n))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = g.fail(streamFailure(truncated(err)))
	}
	return n, err
}

// desks lends room to read packets in: a link waits for days for the next packet, which a byte is enough for.
var desks = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 2+maxTopic) }}

// firstByte waits for the next packet's first byte.
func (g *guard) firstByte() (byte, error) {
	if g.in != nil && g.in.Buffered() > 0 {
		return g.in.ReadByte()
	}
	if g.in != nil {
		g.in.Reset(nil)
		desks.Put(g.in)
		g.in = nil
	}
	if _, err := io.ReadFull(g.Conn, g.store[:1]); err != nil {
		return 0, err
	}
	g.in = desks.Get().(*bufio.Reader)
	g.in.Reset(g.Conn)
	return g.store[0], nil
}

// nextPacket reads and checks the next packet's header, and the whole packet if it is a short one.
func (g *guard) nextPacket() error {
	first, err := g.firstByte()
	if err != nil {
		return err
	}
	packet := append(g.store[:0], first)
	length := 0
	for shift := 0; ; shift += 7 {
		if len(packet) == maxHeader {
			return violation("a remaining length of more than four bytes")
		}
		b, err := g.in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		packet = append(packet, b)
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
	}
	g.bytesIn.Add(uint64(len(packet)))
	kind := first >> 4
	if err := g.checkHeader(kind, first&0x0f, length); err != nil {
		return err
	}
	if kind == typePublish {
		if err := g.checkTopic(first>>1&3, length); err != nil {
			return err
		}
		g.checked, g.body = packet, length
		return nil
	}
	header := len(packet)
	packet = packet[:header+length] // checkHeader has seen to it that there is room
	if _, err := io.ReadFull(g.in, packet[header:]); err != nil {
		return truncated(err)
	}
	g.bytesIn.Add(uint64(length))
	if err := g.checkBody(kind, packet[header:]); err != nil {
		return err
	}
	g.checked = packet
	return nil
}

// checkHeader refuses what a server of MQTT 3.1.1 without QoS 2 does not send.
func (g *guard) checkHeader(kind, flags byte, length int) error {
	if seen := g.code() >= 0; seen && kind == typeConnack {
		return violation("a second CONNACK")
	} else if !seen && kind != typeConnack {
		return violation("a packet of type %d where CONNACK was due; is it a server of MQTT?", kind)
	}
	var fits bool
	switch kind {
	case typePublish:
		switch qos := flags >> 1 & 3; {
		case qos > 1:
			return violation("a PUBLISH of QoS %d; the platform has QoS 0 and 1", qos)
		case length > maxInbound:
			return violation("a PUBLISH of %d bytes; the platform sends at most %d", length, maxInbound)
		case length < 2+2*int(qos):
			return violation("a PUBLISH of %d bytes, too short for its topic", length)
		}
		return nil
	case typeConnack, typePuback, typeUnsuback:
		fits = length == 2
	case typeSuback:
		fits = length > 2 && length <= maxShort
	case typePingresp:
		fits = length == 0
	default:
		return violation("a packet of type %d, which a server does not send", kind)
	}
	if !fits {
		return violation("a packet of type %d with %d bytes, which is not its length", kind, length)
	}
	if flags != 0 {
		return violation("a packet of type %d with flags %#x", kind, flags)
	}
	return nil
}

// checkTopic refuses a PUBLISH whose topic is longer than the packet, on which the library would end with an error that says nothing;
// and one whose topic is no text, which gRPC would not carry to the apps and JSON not to the journal.
func (g *guard) checkTopic(qos byte, length int) error {
	size, err := g.in.Peek(2)
	if err != nil {
		return truncated(err)
	}
	topic := int(binary.BigEndian.Uint16(size))
	switch {
	case 2+topic+2*int(qos) > length:
		return violation("a PUBLISH of %d bytes with a topic of %d", length, topic)
	case topic == 0:
		return violation("a PUBLISH without a topic")
	case topic > maxTopic:
		return violation("a PUBLISH with a topic of %d bytes; the platform's are shorter", topic)
	}
	start, err := g.in.Peek(2 + topic)
	if err != nil {
		return truncated(err)
	}
	if name := start[2:]; !utf8.Valid(name) || bytes.IndexByte(name, 0) >= 0 {
		return violation("a PUBLISH whose topic %.80q is not UTF-8, or holds NUL", name)
	}
	return nil
}

// checkBody checks a short packet and notes what it means.
func (g *guard) checkBody(kind byte, body []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch kind {
	case typeConnack:
		if body[0] > 1 {
			return violation("a CONNACK with flags %#x", body[0])
		}
		g.connack = int(body[1])
		if body[1] > 5 { // the library would take it for success
			return &Failure{Cause: event.CauseConnackOther, Code: body[1], Detail: refusal(body[1], false).Detail}
		}
	case typePingresp:
		g.pingUnheard = false
	case typeSuback, typeUnsuback, typePuback:
		return g.checkAnswer(kind, binary.BigEndian.Uint16(body), body[2:])
	}
	return nil
}

// checkAnswer checks that a packet answers what was asked under its id. The library completes whatever it has under that id, so a
// SUBACK or an UNSUBACK could pass for the PUBACK of a message. mu is held.
func (g *guard) checkAnswer(kind byte, id uint16, codes []byte) error {
	filters, asked := g.asked[id]
	switch {
	case kind == typePuback:
		if asked {
			return violation("a PUBACK for what was no PUBLISH")
		}
		return nil
	case kind == typeUnsuback && (!asked || filters != unsubscribe):
		return violation("an UNSUBACK for what was no UNSUBSCRIBE")
	case kind == typeSuback && (!asked || filters != len(codes)):
		return violation("a SUBACK with %d codes for a SUBSCRIBE with %d filters", len(codes), max(0, filters))
	}
	for _, code := range codes {
		if code > 2 && code != 0x80 {
			return violation("a SUBACK with the code %#x", code)
		}
	}
	delete(g.asked, id)
	return nil
}

// Write notes what the answer must look like, and writes the packet, or lets it wait for others that follow at once. The library writes
// whole packets.
func (g *guard) Write(p []byte) (int, error) {
	g.writing <- struct{}{}
	defer func() { <-g.writing }()
	if len(p) == 0 {
		return 0, nil
	}
	g.noteOutbound(p)
	if now := g.gather(p); now != nil {
		defer g.gathered.release()
		if err := g.write(now); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// write gives the peer writeTimeout to take each chunk. writing is held.
func (g *guard) write(p []byte) (err error) {
	for n := 0; n < len(p) && err == nil; {
		var took int
		if err = g.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
			took, err = g.Conn.Write(p[n:min(len(p), n+writeChunk)])
		}
		n += took
		g.out.Add(uint64(took))
	}
	switch {
	case err == nil || errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return g.fail(&Failure{Cause: event.CauseWriteTimeout, Err: err, Detail: fmt.Sprintf("the server took no bytes for %s", writeTimeout)})
	}
	return g.fail(streamFailure(err))
}

func (g *guard) noteOutbound(p []byte) {
	if p[0]>>4 == typePublish {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch p[0] >> 4 {
	case typePingreq:
		g.pingUnheard = true
	case typeSubscribe:
		if id, filters, ok := parseSubscribe(p); ok {
			g.ask(id, filters)
		}
	case typeUnsubscribe:
		if id, _, ok := parseSubscribe(p); ok {
			g.ask(id, unsubscribe)
		}
	}
}

// ask notes what is asked under an id. mu is held.
func (g *guard) ask(id uint16, filters int) {
	if g.asked == nil {
		g.asked = map[uint16]int{}
	}
	g.asked[id] = filters
}

// parseSubscribe reads the packet id of a SUBSCRIBE and counts its filters. The id of an UNSUBSCRIBE is in the same place.
func parseSubscribe(p []byte) (id uint16, filters int, ok bool) {
	at := 1
	for at < len(p) && p[at]&0x80 != 0 {
		at++
	}
	at++
	if len(p) < at+2 {
		return 0, 0, false
	}
	id = binary.BigEndian.Uint16(p[at:])
	for at += 2; at+2 <= len(p); filters++ {
		at += 2 + int(binary.BigEndian.Uint16(p[at:])) + 1
	}
	return id, filters, true
}

func violation(format string, args ...any) *Failure {
	return &Failure{Cause: event.CauseProtocolViolation, Detail: "the server does not keep to MQTT 3.1.1: it sent " + fmt.Sprintf(format, args...)}
}

// truncated is the failure for a stream that ends within a packet. That is no farewell, whatever TLS says.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errCut) {
		return &Failure{Cause: event.CauseNetwork, Err: err, Detail: "the connection ended in the middle of a packet"}
	}
	return err
}
