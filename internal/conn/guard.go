package conn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// The control packet types of MQTT 3.1.1, section 2.2.1, as the upper half of a packet's first byte.
const (
	typeConnect    = 1
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typeSubscribe  = 8
	typeSuback     = 9
	typeUnsuback   = 11
	typePingreq    = 12
	typePingresp   = 13
	typeDisconnect = 14
)

const (
	// maxInbound is the longest body of a packet that the platform sends: its largest payload, a topic, and their lengths.
	maxInbound = platform.MaxPayloadBytes + 1024
	// writeTimeout is how long a peer may refuse to take bytes. The MQTT library itself would wait for ever.
	writeTimeout = 10 * time.Second
)

// guard is the connection that the MQTT library is given. The library trusts its peer: five bytes from it allocate 255 MiB,
// a SUBACK with too many codes panics, CONNACK 6 counts as success, and a write to a peer that stopped reading never
// ends. So each packet's header, and each short packet whole, is checked here before the library sees a byte of it, and each write
// has a deadline. The first failure, of any kind, is kept, closes the connection and rings dead.
//
// Read is called by one goroutine at a time, as is Write, except that the library's pings may meet a Write.
type guard struct {
	net.Conn
	in      *bufio.Reader
	checked []byte // of the packet being read: header, or a whole short packet, already checked and not yet handed on
	body    int    // bytes of the packet's body that are still to be handed on after checked

	mu           sync.Mutex
	failure      *Failure
	connack      int            // the code seen, -1 before
	asked        map[uint16]int // SUBSCRIBE packets under way: how many filters each has
	pingUnheard  bool           // a PINGREQ went out and no PINGRESP has come
	bytesIn, out atomic.Uint64
	dead         chan struct{} // closed with the first failure
}

func newGuard(c net.Conn) *guard {
	return &guard{Conn: c, in: bufio.NewReaderSize(c, 1024), connack: -1, asked: map[uint16]int{}, dead: make(chan struct{})}
}

// fail keeps the first failure, closes the connection and returns what Read and Write shall return.
func (g *guard) fail(f *Failure) error {
	g.mu.Lock()
	if g.failure == nil {
		g.failure = f
		close(g.dead)
	}
	first := g.failure
	g.mu.Unlock()
	_ = g.Conn.Close()
	return first
}

// Failure is the first failure, or nil.
func (g *guard) Failure() *Failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// Close closes the connection; that is no failure.
func (g *guard) Close() error { return g.Conn.Close() }

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
		err = g.fail(streamFailure(err))
	}
	return n, err
}

// nextPacket reads and checks the next packet's header, and the whole packet if it is a short one.
func (g *guard) nextPacket() error {
	first, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	header := append(make([]byte, 0, 8), first)
	length, shift := 0, 0
	for {
		b, err := g.in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		header = append(header, b)
		length |= int(b&0x7f) << shift
		shift += 7
		if b&0x80 == 0 {
			break
		}
		if shift == 28 {
			return violation("a remaining length of more than four bytes")
		}
	}
	g.bytesIn.Add(uint64(len(header)))
	if length > maxInbound {
		return violation("a packet of %d bytes; the platform sends at most %d", length, maxInbound)
	}
	kind := first >> 4
	if err := g.checkHeader(kind, first&0x0f, length); err != nil {
		return err
	}
	if kind == typePublish {
		g.checked, g.body = header, length
		return nil
	}
	packet := append(header, make([]byte, length)...)
	if _, err := io.ReadFull(g.in, packet[len(header):]); err != nil {
		return truncated(err)
	}
	g.bytesIn.Add(uint64(length))
	g.checked = packet
	return g.checkBody(kind, packet[len(header):])
}

// checkHeader refuses what a server of MQTT 3.1.1 without QoS 2 does not send.
func (g *guard) checkHeader(kind, flags byte, length int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if accepted := g.connack == 0; (kind == typeConnack) == accepted {
		if accepted {
			return violation("a second CONNACK")
		}
		return violation("a packet of type %d where CONNACK was due", kind)
	}
	if kind == typePublish {
		switch qos := flags >> 1 & 3; {
		case qos > 1:
			return violation("a PUBLISH of QoS %d; the platform has QoS 0 and 1", qos)
		case length < 2+2*int(qos):
			return violation("a PUBLISH of %d bytes, too short for its topic", length)
		}
		return nil
	}
	want, known := map[byte]int{typeConnack: 2, typePuback: 2, typeUnsuback: 2, typePingresp: 0}[kind]
	switch {
	case kind == typeSuback && length < 3, kind == typeSuback && length > 2+platform.MaxSubscriptions:
		return violation("a SUBACK of %d bytes", length)
	case kind == typeSuback:
	case !known:
		return violation("a packet of type %d, which a server does not send", kind)
	case length != want:
		return violation("a packet of type %d with %d bytes; it has %d", kind, length, want)
	}
	if flags != 0 {
		return violation("a packet of type %d with flags %#x", kind, flags)
	}
	return nil
}

// checkBody checks a short packet and notes what it means.
func (g *guard) checkBody(kind byte, body []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch kind {
	case typeConnack:
		g.connack = int(body[1])
		if body[1] > 5 { // the library would take it for success
			return &Failure{Cause: event.CauseConnackOther, Code: body[1], Detail: refusal(body[1], false).Detail}
		}
	case typePingresp:
		g.pingUnheard = false
	case typeSuback:
		id := binary.BigEndian.Uint16(body)
		filters, asked := g.asked[id]
		delete(g.asked, id)
		if !asked || filters != len(body)-2 {
			return violation("a SUBACK with %d codes for a SUBSCRIBE with %d filters", len(body)-2, filters)
		}
	}
	return nil
}

// Write notes what the answer must look like and gives the peer writeTimeout to take the bytes. The library writes whole packets.
func (g *guard) Write(p []byte) (int, error) {
	if len(p) > 0 {
		g.noteOutbound(p)
	}
	if err := g.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	g.out.Add(uint64(n))
	switch {
	case err == nil || errors.Is(err, net.ErrClosed):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, g.fail(&Failure{Cause: event.CauseWriteTimeout, Err: err, Detail: fmt.Sprintf("the server took no bytes for %s", writeTimeout)})
	}
	return n, g.fail(streamFailure(err))
}

func (g *guard) noteOutbound(p []byte) {
	switch p[0] >> 4 {
	case typePingreq:
		g.mu.Lock()
		g.pingUnheard = true
		g.mu.Unlock()
	case typeSubscribe:
		if id, filters, ok := parseSubscribe(p); ok {
			g.mu.Lock()
			g.asked[id] = filters
			g.mu.Unlock()
		}
	}
}

// parseSubscribe reads the packet id of a SUBSCRIBE and counts its filters.
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
