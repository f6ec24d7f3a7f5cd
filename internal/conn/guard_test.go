package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// stream is a connection from which the peer's bytes are read, few at a time, and then end with err. What is written is kept.
type stream struct {
	net.Conn
	in      io.Reader
	err     error
	atOnce  int
	written bytes.Buffer
	closed  bool
}

func newStream(in ...byte) *stream {
	return &stream{in: bytes.NewReader(in), err: io.EOF, atOnce: 1}
}

func (s *stream) Read(p []byte) (int, error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	n, err := s.in.Read(p[:min(len(p), s.atOnce)])
	if err != nil {
		err = s.err
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error)       { return s.written.Write(p) }
func (s *stream) Close() error                      { s.closed = true; return nil }
func (*stream) SetDeadline(time.Time) error         { return nil }
func (s *stream) SetReadDeadline(t time.Time) error { return nil }
func (*stream) SetWriteDeadline(time.Time) error    { return nil }

// What the client asked in the tests below: two filters under id 1, another end of a subscription under id 2.
var (
	subscribe1   = []byte{0x82, 12, 0, 1, 0, 1, 'a', 1, 0, 3, 'b', '/', 'c', 0}
	unsubscribe2 = []byte{0xa2, 5, 0, 2, 0, 1, 'a'}
)

// guarded is a guard that has asked, over a peer that sends these bytes.
func guarded(t testing.TB, in ...byte) (*guard, *stream) {
	t.Helper()
	s := newStream(in...)
	g := newGuard(s)
	for _, packet := range [][]byte{subscribe1, unsubscribe2} {
		if n, err := g.Write(packet); n != len(packet) || err != nil {
			t.Fatal(n, err)
		}
	}
	return g, s
}

func TestGuardPassesWhatAServerMaySend(t *testing.T) {
	for name, packet := range map[string][]byte{
		"PUBLISH QoS 0":           publishPacket("/a/b", "hello", 0, 0),
		"PUBLISH QoS 1":           publishPacket("/a/b", "hello", 1, 7),
		"PUBLISH without payload": publishPacket("/a/b", "", 0, 0),
		"PUBLISH retained":        {0x31, 4, 0, 1, 'a', 'x'},
		"the longest topic":       publishPacket(strings.Repeat("t", maxTopic), "x", 0, 0),
		"PUBLISH again":           {0x3a, 6, 0, 1, 'a', 0, 9, 'x'},
		"the largest PUBLISH":     publishPacket(strings.Repeat("t", platform.MaxTopicBytes), strings.Repeat("x", platform.MaxPayloadBytes), 1, 7),
		"PUBACK":                  {0x40, 2, 0, 5},
		"SUBACK":                  {0x90, 4, 0, 1, 1, 0x80},
		"UNSUBACK":                {0xb0, 2, 0, 2},
		"PINGRESP":                {0xd0, 0},
		"a length in four bytes":  {0xd0, 0x80, 0x80, 0x80, 0},
	} {
		t.Run(name, func(t *testing.T) {
			sent := concat(connackOK, packet)
			for _, atOnce := range []int{1, 3, 1 << 20} {
				g, s := guarded(t, sent...)
				s.atOnce = atOnce
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(g, got); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d at once: error %v, got %d bytes of %d", atOnce, err, len(got), len(sent))
				}
				if n := g.bytesIn.Load(); n != uint64(len(sent)) {
					t.Errorf("counted %d bytes of %d", n, len(sent))
				}
			}
		})
	}
}

func TestGuardRefusesWhatNoServerMaySend(t *testing.T) {
	afterConnack := func(packet ...byte) []byte { return concat(connackOK, packet) }
	for name, c := range map[string]struct {
		sent []byte
		want string // in the detail
	}{
		"255 MiB in five bytes":            {afterConnack(0x30, 0xff, 0xff, 0xff, 0x7f), "268435455 bytes"},
		"255 MiB in place of CONNACK":      {[]byte{0x20, 0xff, 0xff, 0xff, 0x7f}, "268435455 bytes"},
		"one byte more than the platform":  {afterConnack(0x30, 0x81, 0x88, 0x10), "at most 263168"},
		"a length of five bytes":           {afterConnack(0x30, 0x80, 0x80, 0x80, 0x80, 0x01), "more than four bytes"},
		"SUBACK with too many codes":       {afterConnack(0x90, 5, 0, 1, 1, 1, 1), "3 codes for a SUBSCRIBE with 2 filters"},
		"SUBACK with too few codes":        {afterConnack(0x90, 3, 0, 1, 1), "1 codes for a SUBSCRIBE with 2 filters"},
		"SUBACK without codes":             {afterConnack(0x90, 2, 0, 1), "with 2 bytes"},
		"SUBACK of unknown id":             {afterConnack(0x90, 4, 0, 9, 1, 1), "with 0 filters"},
		"SUBACK for an UNSUBSCRIBE":        {afterConnack(0x90, 4, 0, 2, 1, 1), "with 0 filters"},
		"SUBACK twice":                     {afterConnack(0x90, 4, 0, 1, 1, 1, 0x90, 4, 0, 1, 1, 1), "with 0 filters"},
		"SUBACK with more than 8 codes":    {afterConnack(0x90, 11, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), "with 11 bytes"},
		"SUBACK with a code of its own":    {afterConnack(0x90, 4, 0, 1, 1, 3), "code 0x3"},
		"PUBACK for a SUBSCRIBE":           {afterConnack(0x40, 2, 0, 1), "no PUBLISH"},
		"PUBACK of 3.1.1 with a reason":    {afterConnack(0x40, 3, 0, 5, 0), "with 3 bytes"},
		"UNSUBACK for a message":           {afterConnack(0xb0, 2, 0, 5), "no UNSUBSCRIBE"},
		"UNSUBACK for a SUBSCRIBE":         {afterConnack(0xb0, 2, 0, 1), "no UNSUBSCRIBE"},
		"a second CONNACK":                 {afterConnack(connackOK...), "second CONNACK"},
		"a refusal after CONNACK":          {afterConnack(0x20, 2, 0, 5), "second CONNACK"},
		"PUBLISH before CONNACK":           {publishPacket("/a", "x", 0, 0), "where CONNACK was due"},
		"CONNACK of one byte":              {[]byte{0x20, 1, 0}, "with 1 bytes"},
		"CONNACK of MQTT 5":                {[]byte{0x20, 3, 0, 0, 0}, "with 3 bytes"},
		"CONNACK with flags":               {[]byte{0x20, 2, 2, 0}, "flags 0x2"},
		"CONNACK with flags in its header": {[]byte{0x21, 2, 0, 0}, "flags 0x1"},
		"PUBLISH of QoS 2":                 {afterConnack(0x34, 6, 0, 1, 'a', 0, 9, 'x'), "QoS 2"},
		"PUBLISH of QoS 3":                 {afterConnack(0x36, 6, 0, 1, 'a', 0, 9, 'x'), "QoS 3"},
		"PUBLISH without a topic":          {afterConnack(0x30, 1, 0), "too short"},
		"PUBLISH without an id":            {afterConnack(0x32, 3, 0, 1, 'a'), "too short"},
		"PUBLISH with an empty topic":      {afterConnack(0x30, 3, 0, 0, 'a'), "without a topic"},
		"PUBLISH with a vast topic":        {afterConnack(publishPacket(strings.Repeat("t", maxTopic+1), "x", 0, 0)...), "a topic of 1001 bytes"},
		"PUBLISH with no text for a topic": {afterConnack(publishPacket("/a/\xff", "x", 1, 7)...), "not UTF-8"},
		"PUBLISH with NUL in its topic":    {afterConnack(publishPacket("/a\x00", "x", 0, 0)...), "holds NUL"},
		"PUBLISH with too long a topic":    {afterConnack(0x30, 3, 0, 2, 'a'), "a topic of 2"},
		"PUBLISH with no room for its id":  {afterConnack(0x32, 4, 0, 2, 'a', 'b'), "a topic of 2"},
		"PINGRESP with a body":             {afterConnack(0xd0, 1, 0), "with 1 bytes"},
		"PUBREC":                           {afterConnack(0x50, 2, 0, 1), "type 5"},
		"CONNECT":                          {afterConnack(0x10, 0), "type 1"},
		"a type that does not exist":       {afterConnack(0x00, 0), "type 0"},
		"HTTP":                             {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "is it a server of MQTT?"},
	} {
		t.Run(name, func(t *testing.T) {
			g, s := guarded(t, c.sent...)
			var buried *Failure
			g.whenDead(func(f *Failure) { buried = f })
			var err error
			for err == nil {
				_, err = packets.ReadPacket(g) // as the library does
			}
			f, ok := errors.AsType[*Failure](err)
			if !ok || f.Cause != event.CauseProtocolViolation || !strings.Contains(f.Detail, c.want) {
				t.Errorf("got %T: %v; want a violation with %q", err, err, c.want)
			}
			if !s.closed || g.Failure() != f {
				t.Errorf("closed %v, failure kept %v", s.closed, g.Failure())
			}
			if buried != f {
				t.Errorf("told of the end: %v", buried)
			}
		})
	}
}

func TestGuardAllocatesNothingForWhatAPeerAnnounces(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		g, _ := guarded(t, concat(connackOK, []byte{0x30, 0xff, 0xff, 0xff, 0x7f})...)
		for err := error(nil); err == nil; {
			_, err = packets.ReadPacket(g)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 10<<20 {
		t.Errorf("100 such peers made it allocate %d KiB", used>>10)
	}
}

func TestGuardNotesConnackAndPings(t *testing.T) {
	g, _ := guarded(t, concat(connackOK, []byte{0xd0, 0})...)
	if g.code() != -1 || g.waitsForPing() {
		t.Errorf("at first: code %d, ping %v", g.code(), g.waitsForPing())
	}
	if _, err := g.Write([]byte{0xc0, 0}); err != nil || !g.waitsForPing() {
		t.Errorf("after PINGREQ: error %v, ping %v", err, g.waitsForPing())
	}
	for range 2 {
		if _, err := packets.ReadPacket(g); err != nil {
			t.Fatal(err)
		}
	}
	if g.code() != 0 || g.waitsForPing() {
		t.Errorf("after the answers: code %d, ping %v", g.code(), g.waitsForPing())
	}
}

func TestGuardTellsAFarewellFromACut(t *testing.T) {
	whole := concat(connackOK, publishPacket("/a/b", "hello", 1, 7))
	for sent := range len(whole) + 1 {
		g, _ := guarded(t, whole[:sent]...)
		var err error
		for err == nil {
			_, err = packets.ReadPacket(g)
		}
		f, _ := errors.AsType[*Failure](err)
		between := sent == 0 || sent == len(connackOK) || sent == len(whole)
		switch {
		case f == nil:
			t.Errorf("after %d bytes: %v", sent, err)
		case between != f.goodbye, between != (f.Cause == event.CauseClosedByServer), !between && f.Cause != event.CauseNetwork:
			t.Errorf("after %d bytes: cause %v, goodbye %v: %v", sent, f.Cause, f.goodbye, f)
		}
	}
}

func TestGuardWritesWholePacketsInChunks(t *testing.T) {
	s := newStream()
	g := newGuard(s)
	packet := bytes.Repeat([]byte{0x30, 1, 2, 3, 4}, writeChunk) // five chunks
	if n, err := g.Write(packet); n != len(packet) || err != nil || !bytes.Equal(s.written.Bytes(), packet) {
		t.Errorf("wrote %d of %d, error %v", n, len(packet), err)
	}
	if got := g.out.Load(); got != uint64(len(packet)) {
		t.Errorf("counted %d", got)
	}
}

func TestGuardCountsFiltersOfASubscribe(t *testing.T) {
	subscribe := func(id uint16, filters ...string) []byte {
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID, p.Topics, p.Qoss = id, filters, make([]byte, len(filters))
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, filters := range [][]string{{"/a"}, {"", "/b"}, slices.Repeat([]string{strings.Repeat("f", 128)}, 8)} {
		id, n, ok := parseSubscribe(subscribe(300, filters...))
		if id != 300 || n != len(filters) || !ok {
			t.Errorf("%d filters: got id %d, %d, %v", len(filters), id, n, ok)
		}
	}
	whole := subscribe(300, "/a", "/b")
	for n := range whole {
		parseSubscribe(whole[:n]) // must not panic
	}
}

func TestPeerThatStopsReadingIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe()
		defer func() { _ = server.Close() }()
		g := newGuard(client)
		began := time.Now()
		var writing sync.WaitGroup
		for _, packet := range [][]byte{publishPacket("/a", "x", 1, 1), {0xc0, 0}, {0xc0, 0}} {
			writing.Go(func() {
				if _, err := g.Write(packet); err == nil {
					t.Error("written to nobody")
				}
				_ = g.SetWriteDeadline(time.Time{}) // as the library does after a PUBLISH
			})
		}
		writing.Wait()
		if f := g.Failure(); f == nil || f.Cause != event.CauseWriteTimeout || !errors.Is(f, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", f)
		}
		if took := time.Since(began); took != writeTimeout {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDeadlineOfThePingIsNotTakenAwayByTheLibrary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe()
		defer func() { _ = server.Close() }()
		g := newGuard(client)
		done := make(chan error)
		go func() {
			_, err := g.Write([]byte{0xc0, 0})
			done <- err
		}()
		synctest.Wait()
		_ = g.SetWriteDeadline(time.Time{})
		_ = g.SetDeadline(time.Time{})
		if f, _ := errors.AsType[*Failure](<-done); f == nil || f.Cause != event.CauseWriteTimeout {
			t.Errorf("got %v", f)
		}
	})
}

func TestSlowPeerIsNoDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe()
		defer func() { _ = client.Close() }()
		g := newGuard(client)
		packet := make([]byte, platform.MaxPayloadBytes)
		go func() {
			for read := 0; read < len(packet); {
				time.Sleep(writeTimeout / 2)
				n, _ := io.ReadFull(server, make([]byte, writeChunk))
				read += n
			}
		}()
		if n, err := g.Write(packet); n != len(packet) || err != nil {
			t.Errorf("wrote %d, error %v", n, err)
		}
	})
}

func TestReadAfterCloseIsNoFailure(t *testing.T) {
	client, server := pipe()
	defer func() { _ = server.Close() }()
	g := newGuard(client)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Read(make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := g.Write([]byte{0xc0, 0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if f := g.Failure(); f != nil {
		t.Errorf("got %v", f)
	}
}

// FuzzGuard: whatever a peer sends, the library is given whole and valid packets, and then a *Failure.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(9))
	f.Add([]byte{0x20, 2, 0, 200}, uint8(2))
	f.Add(concat(connackOK, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}), uint8(1))
	f.Add(concat(connackOK, publishPacket("/a/b", "hello", 1, 7), []byte{0x90, 4, 0, 1, 1, 1, 0xb0, 2, 0, 2, 0xd0, 0}), uint8(3))
	f.Add(concat(connackOK, publishPacket("", "", 0, 0), publishPacket("/long", strings.Repeat("x", 3000), 0, 0), []byte{0x40, 2, 0, 5}), uint8(200))
	f.Fuzz(func(t *testing.T, sent []byte, atOnce uint8) {
		g, s := guarded(t, sent...)
		s.atOnce = max(1, int(atOnce))
		for first, passed := true, 0; ; first = false {
			packet, err := packets.ReadPacket(g)
			if err != nil {
				failure, ok := errors.AsType[*Failure](err)
				if !ok || failure.Detail == "" || failure.Cause == event.CauseNone {
					t.Fatalf("after %d bytes the library says itself: %v", passed, err)
				}
				return
			}
			if _, ok := packet.(*packets.ConnackPacket); ok != first {
				t.Fatalf("packet %v, the first: %v", packet, first)
			}
			passed += size(packet)
			if passed > len(sent) {
				t.Fatalf("the library was given %d bytes of %d", passed, len(sent))
			}
			if ack, ok := packet.(*packets.SubackPacket); ok && (ack.MessageID != 1 || len(ack.ReturnCodes) != 2) {
				t.Fatalf("got %v", ack)
			}
		}
	})
}

// size is how long a packet is without the bytes of its length.
func size(packet packets.ControlPacket) int {
	switch p := packet.(type) {
	case *packets.PublishPacket:
		return 1 + p.RemainingLength
	case *packets.SubackPacket:
		return 1 + p.RemainingLength
	case *packets.PingrespPacket:
		return 1
	case *packets.ConnackPacket, *packets.PubackPacket, *packets.UnsubackPacket:
		return 3
	}
	panic(fmt.Sprintf("the guard let %T pass", packet))
}
