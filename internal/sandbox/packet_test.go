package sandbox

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
)

// A SUBSCRIBE of MQTT 5 that is cut short has killed a broker.
func TestMQTT5IsRefusedWithNothingOfItRead(t *testing.T) {
	s := start(t)
	for _, rest := range []string{"", "ff", "02003c0f210014", "c2003c05110000000a"} {
		tail, _ := hex.DecodeString(rest)
		body := append(append(appendText(nil, "MQTT"), 5), tail...)
		c := s.plain()
		c.write(append(appendLength([]byte{typeConnect << 4}, len(body)), body...), []byte{0x82, 7, 0, 1, 0, 0, 5, 'a', '/'})
		c.wantPacket(connack(codeProtocol, false)...)
		c.wantEOF()
	}
	s.login(dev001, deviceSecret).ping()
}

func TestGarbageHurtsNobody(t *testing.T) {
	s := start(t)
	bystander := s.login(dev001, deviceSecret)
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(1, seed))
	for i := range 200 {
		garbage := make([]byte, 1+random.IntN(300))
		for at := range garbage {
			garbage[at] = byte(random.Uint32())
		}
		garbage[0] = []byte{garbage[0], typeConnect << 4, recordHandshake, 'G'}[i%4]
		c := s.plain()
		_, _ = c.conn.Write(garbage)
		_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
		_, _ = c.in.ReadByte() // it is closed, or answers something
		c.conn.Close()
	}
	bystander.ping()
}

func TestAnAnnouncedPacketIsNotAllocated(t *testing.T) {
	for _, first := range []byte{typeConnect << 4, typePublish << 4, typeSubscribe<<4 | 2} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		in := bufio.NewReader(bytes.NewReader([]byte{first, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}))
		if p, _, err := readPacket(in, nil); err == nil {
			t.Errorf("%#02x: %+v", first, p.kind)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 2*maxPublish {
			t.Errorf("%#02x: %d bytes were allocated", first, grown)
		}
	}
}

func TestAMalformedConnectIsNotAnswered(t *testing.T) {
	good := connectPacket(secretLogin(dev001, deviceSecret)) // its length takes two bytes, so its flags are at 10
	for name, change := range map[string]func(p []byte) []byte{
		"flags in its header":   func(p []byte) []byte { p[0] |= 1; return p },
		"a reserved flag":       func(p []byte) []byte { p[10] |= flagReserved; return p },
		"a will's QoS, no will": func(p []byte) []byte { p[10] |= 1 << 3; return p },
		"no user name":          func(p []byte) []byte { p[10] &^= flagUsername; return p },
		"more than it holds":    func(p []byte) []byte { p[1]++; return append(p, 0) },
		"less than it holds":    func(p []byte) []byte { p[1]--; return p[:len(p)-1] },
		"a client id with NUL":  func(p []byte) []byte { p[16] = 0; return p },
		"a client id not UTF-8": func(p []byte) []byte { p[16] = 0xff; return p },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.plain()
			c.write(change(bytes.Clone(good)))
			c.wantEOF()
			all, err := s.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{})
			if err != nil || len(all.GetLogins()) != 1 || all.GetLogins()[0].ConnackCode != nil || all.GetLogins()[0].GetDevice() != nil {
				t.Errorf("recorded: %v, %v", all, err)
			}
		})
	}
}

func TestLengthsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, length := range []int{0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455} {
		written := appendLength(nil, length)
		got, err := readLength(bufio.NewReader(bytes.NewReader(written)))
		if err != nil || got != length {
			t.Errorf("%d: % x reads as %d, %v", length, written, got, err)
		}
	}
}

// FuzzConnect looks for a CONNECT that the parser, or what judges it, does not survive; and checks that whatever is taken as a
// login has a right signature.
func FuzzConnect(f *testing.F) {
	c, err := newCloud(Options{Fixture: fixture(), ConnectsPerMinute: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(connectPacket(secretLogin(dev001, deviceSecret)), false)
	f.Add(connectPacket(fromLogin(registration(dev002, 1).Login())), true)
	f.Add(connectPacket(secretLogin(dev001, "wrong"), func(o *connectOptions) { o.will = true }), false)
	f.Add([]byte{0x10, 7, 0, 4, 'M', 'Q', 'T', 'T', 5}, false)
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}, false)
	f.Fuzz(func(t *testing.T, data []byte, tls bool) {
		p, _, err := readPacket(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			return
		}
		in, err := parseConnect(p)
		if err != nil {
			return
		}
		v := c.judge(in, tls)
		if v.code > codeNotAuthorised || v.reason == "" {
			t.Errorf("the verdict is %+v", v)
		}
		if v.code == codeAccepted && v.purpose == forLogin && in.password.IsZero() {
			t.Errorf("a login without a password was taken: %+v", v)
		}
	})
}

// FuzzPackets looks for packets that the parsers do not survive, or do not read as they are written.
func FuzzPackets(f *testing.F) {
	f.Add(appendPublish(nil, message{topic: "a/b", payload: []byte("x"), qos: 1, id: 7}))
	f.Add(subscribePacket(1, "a/#", "b"))
	f.Add(unsubscribePacket(1, "a"))
	f.Add(ack(typePuback, 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := readPacket(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			return
		}
		switch p.kind {
		case typePublish:
			m, err := parsePublish(p)
			if err != nil {
				return
			}
			again, _, err := readPacket(bufio.NewReader(bytes.NewReader(appendPublish(nil, m))), nil)
			if err != nil || !bytes.Equal(again.body, p.body) {
				t.Errorf("% x became % x (%v)", p.body, again.body, err)
			}
		case typeSubscribe, typeUnsubscribe:
			if all, err := parseFilters(p); err == nil && (len(all.names) == 0 || all.id == 0) {
				t.Errorf("% x was read as %+v", data, all)
			}
		case typePuback:
			_, _ = parseAck(p)
		}
	})
}
