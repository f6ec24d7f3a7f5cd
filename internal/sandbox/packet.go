package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// The packet types of MQTT 3.1 and 3.1.1 that devices and the platform exchange.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
)

const (
	// maxString is what a length of two bytes can say.
	maxString = 1<<16 - 1
	// maxPublish is the greatest PUBLISH that is read as a whole: one that holds a greater payload is skipped.
	maxPublish = 2 + maxString + 2 + platform.MaxPayloadBytes
	// maxOther bounds the packets of other types; a SUBSCRIBE of a hundred filters needs 13 KiB.
	maxOther = 64 << 10
)

// violation is a breach of MQTT's rules. The platform closes the connection without a word.
type violation string

func (v violation) Error() string { return "MQTT's rules were broken: " + string(v) }

// packet is one MQTT packet without its fixed header.
type packet struct {
	kind  byte // typeConnect …
	flags byte // the low four bits of its first byte
	// body is valid until the next packet is read.
	body []byte
	// cut says that the packet was greater than maxPublish: body is only its beginning, and the rest was skipped.
	cut bool
}

// readPacket reads one packet into buf, which it returns, grown if need be. A peer that announces a great packet does not make
// it allocate one.
func readPacket(r *bufio.Reader, buf []byte) (packet, []byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return packet{}, buf, err
	}
	length, err := readLength(r)
	if err != nil {
		return packet{}, buf, err
	}
	p := packet{kind: first >> 4, flags: first & 0xf}
	limit := maxOther
	if p.kind == typePublish {
		limit = maxPublish
	}
	skip := 0
	if length > limit {
		if p.kind != typePublish {
			return packet{}, buf, violation(fmt.Sprintf("a packet of type %d announced %d bytes", p.kind, length))
		}
		// The beginning has the topic and the packet identifier, which is all that an answer needs.
		const beginning = 2 + maxString + 2
		p.cut, skip, length = true, length-beginning, beginning
	}
	if cap(buf) < length {
		buf = make([]byte, length)
	}
	p.body = buf[:length]
	if _, err := io.ReadFull(r, p.body); err != nil {
		return packet{}, buf, unexpected(err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(skip)); err != nil {
		return packet{}, buf, unexpected(err)
	}
	return p, buf, nil
}

// readLength reads MQTT's "remaining length": seven bits a byte, at most four bytes.
func readLength(r *bufio.Reader) (int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return length, nil
		}
	}
	return 0, violation("a packet's length takes more than four bytes")
}

// unexpected is the end of the stream inside a packet.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fields reads the fields of a packet's body one after another. The first that is not there is remembered in err, and the
// further ones are empty.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) take(n int) []byte {
	if f.err == nil && len(f.rest) < n {
		f.err = violation("a packet ends too early")
	}
	if f.err != nil {
		return nil
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) uint8() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) bytes() []byte { return f.take(int(f.uint16())) }

// text is a string. MQTT forbids what is not UTF-8, and U+0000.
func (f *fields) text() string {
	b := f.bytes()
	if f.err == nil && (!utf8.Valid(b) || containsNUL(b)) {
		f.err = violation("a string is not UTF-8, or holds the character NUL")
		return ""
	}
	return string(b)
}

func containsNUL(b []byte) bool {
	return slices.Contains(b, 0)
}

// id is a packet identifier, which is never 0.
func (f *fields) id() uint16 {
	id := f.uint16()
	if f.err == nil && id == 0 {
		f.err = violation("a packet identifier is 0")
	}
	return id
}

// end checks that nothing is left over.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = violation("a packet is longer than its fields")
	}
	return f.err
}

// flagDuplicate is DUP of a PUBLISH's flags: it may have come before.
const flagDuplicate = 1 << 3

// message is a PUBLISH, in either direction.
type message struct {
	topic     string
	payload   []byte
	qos       byte
	id        uint16 // packet identifier; 0 for QoS 0
	duplicate bool
}

// parsePublish reads a PUBLISH of a device. Its payload is that of p, and valid as long.
func parsePublish(p packet) (message, error) {
	m := message{qos: p.flags >> 1 & 3, duplicate: p.flags&flagDuplicate != 0}
	switch {
	case m.qos > 1:
		return message{}, violation(fmt.Sprintf("a PUBLISH has QoS %d, which the platform does not support", m.qos))
	case p.flags&1 != 0:
		return message{}, violation("a PUBLISH is to be retained, which the platform does not support")
	}
	f := fields{rest: p.body}
	m.topic = f.text()
	if m.qos > 0 {
		m.id = f.id()
	}
	m.payload = f.rest
	return m, f.err
}

// filters are those of a SUBSCRIBE or an UNSUBSCRIBE.
type filters struct {
	id    uint16
	names []string
	qos   []byte // of a SUBSCRIBE
}

func parseFilters(p packet) (filters, error) {
	const flags = 2 // MQTT fixes them for both packets
	if p.flags != flags {
		return filters{}, violation(fmt.Sprintf("a packet of type %d has the flags %#x", p.kind, p.flags))
	}
	f := fields{rest: p.body}
	all := filters{id: f.id()}
	for f.err == nil && len(f.rest) > 0 {
		all.names = append(all.names, f.text())
		if p.kind == typeSubscribe {
			qos := f.uint8()
			if qos > 2 {
				return filters{}, violation(fmt.Sprintf("a SUBSCRIBE asks for QoS %d", qos))
			}
			all.qos = append(all.qos, qos)
		}
	}
	if f.err == nil && len(all.names) == 0 {
		f.err = violation("a SUBSCRIBE or UNSUBSCRIBE holds no filter")
	}
	return all, f.err
}

// parseAck reads the packet identifier of a PUBACK.
func parseAck(p packet) (uint16, error) {
	f := fields{rest: p.body}
	id := f.id()
	return id, f.end()
}

// appendPublish appends a PUBLISH to a device.
func appendPublish(to []byte, m message) []byte {
	length := 2 + len(m.topic) + len(m.payload)
	if m.qos > 0 {
		length += 2
	}
	first := typePublish<<4 | m.qos<<1
	if m.duplicate {
		first |= flagDuplicate
	}
	to = appendLength(append(to, first), length)
	to = appendText(to, m.topic)
	if m.qos > 0 {
		to = binary.BigEndian.AppendUint16(to, m.id)
	}
	return append(to, m.payload...)
}

func appendText(to []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(s))), s...)
}

func appendLength(to []byte, length int) []byte {
	for length >= 0x80 {
		to = append(to, byte(length)|0x80)
		length >>= 7
	}
	return append(to, byte(length))
}

// ack is a packet that consists of an identifier, and of codes if it is a SUBACK.
func ack(kind byte, id uint16, codes ...byte) []byte {
	to := appendLength([]byte{kind << 4}, 2+len(codes))
	return append(binary.BigEndian.AppendUint16(to, id), codes...)
}

// connack is a CONNACK. Its session flag says that the platform has kept the session.
func connack(code byte, sessionPresent bool) []byte {
	p := []byte{typeConnack << 4, 2, 0, code}
	if sessionPresent {
		p[2] = 1
	}
	return p
}
