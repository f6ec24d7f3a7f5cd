package conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzGuardPassesPackets reads what the guard lets through byte by byte, without the MQTT library: it is what the peer sent, unchanged
// and from the beginning, and packets that a reader of the standard's own words takes. Only the payload of the last may be cut short.
func FuzzGuardPassesPackets(f *testing.F) {
	suback := []byte{0x90, 4, 0, 1, 1, 0x80}
	f.Add([]byte{}, uint8(1), uint16(1))
	f.Add(concat(connackOK, publishPacket("/a/b", "hello", 1, 7), suback, []byte{0xb0, 2, 0, 2, 0xd0, 0}), uint8(3), uint16(2))
	f.Add(concat(connackOK, publishPacket("/a/b", strings.Repeat("x", 3000), 0, 0), []byte{0x40, 2, 0, 5}), uint8(200), uint16(4096))
	f.Add(concat(connackOK, publishPacket("/a/\xff", "x", 0, 0)), uint8(9), uint16(9))
	f.Add(concat(connackOK, publishPacket(strings.Repeat("t", 2000), "x", 0, 0)), uint8(9), uint16(9))
	f.Add(concat(connackOK, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}), uint8(1), uint16(1))
	f.Add(concat(connackOK, []byte{0xd0, 0x80, 0x80, 0x80, 0x80, 0}, suback, suback), uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, sent []byte, atOnce uint8, room uint16) {
		g, s := guarded(t, sent...)
		s.atOnce = max(1, int(atOnce))
		var passed []byte
		var failed error
		for part := make([]byte, max(1, int(room))); failed == nil; {
			var n int
			n, failed = g.Read(part)
			passed = append(passed, part[:n]...)
		}
		if failure, ok := errors.AsType[*Failure](failed); !ok || g.Failure() != failure || !s.closed || !utf8.ValidString(failure.Error()) {
			t.Fatalf("it ends with %v", failed)
		}
		if !bytes.HasPrefix(sent, passed) {
			t.Fatalf("% x became % x", sent, passed)
		}
		if err := readAsAStandardSays(passed, len(passed) == len(sent)); err != nil {
			t.Fatalf("% x: %v", passed, err)
		}
	})
}

// readAsAStandardSays reads packets of MQTT 3.1.1 from a server without QoS 2, that was asked subscribe1 and unsubscribe2. With cut the
// last may end early.
func readAsAStandardSays(all []byte, cut bool) error {
	subscribed, unsubscribed := false, false
	for first := true; len(all) > 0; first = false {
		kind, flags := all[0]>>4, all[0]&15
		length, bytesOfLength := binary.Uvarint(all[1:min(len(all), maxHeader)]) // MQTT's lengths are written as these are
		if bytesOfLength <= 0 || length > maxInbound {
			return fmt.Errorf("a packet of %d bytes", length)
		}
		body := all[1+bytesOfLength:]
		if uint64(len(body)) < length {
			if kind == typePublish && cut {
				return nil
			}
			return io.ErrUnexpectedEOF
		}
		body, all = body[:length], body[length:]
		if first != (kind == typeConnack) {
			return fmt.Errorf("a packet of type %d, the first: %v", kind, first)
		}
		if kind != typePublish && flags != 0 {
			return fmt.Errorf("a packet of type %d with flags %d", kind, flags)
		}
		good := false
		switch kind {
		case typeConnack:
			good = length == 2 && body[0] <= 1 && body[1] <= 5
		case typePublish:
			good = publishIsWhole(flags>>1&3, body)
		case typePuback:
			good = length == 2 && !bytes.Equal(body, []byte{0, 1}) && !bytes.Equal(body, []byte{0, 2}) || subscribed || unsubscribed
		case typeSuback:
			good = !subscribed && length == 4 && body[0] == 0 && body[1] == 1 && isGrant(body[2]) && isGrant(body[3])
			subscribed = true
		case typeUnsuback:
			good = !unsubscribed && length == 2 && body[0] == 0 && body[1] == 2
			unsubscribed = true
		case typePingresp:
			good = length == 0
		}
		if !good {
			return fmt.Errorf("a packet of type %d, flags %d, with % x", kind, flags, body)
		}
	}
	return nil
}

func isGrant(code byte) bool { return code <= 2 || code == 0x80 }

func publishIsWhole(qos byte, body []byte) bool {
	if qos > 1 || len(body) < 2 {
		return false
	}
	size := int(binary.BigEndian.Uint16(body))
	if len(body) < 2+size+2*int(qos) {
		return false
	}
	topic := string(body[2 : 2+size])
	return topic != "" && utf8.ValidString(topic) && !strings.Contains(topic, "\x00")
}
