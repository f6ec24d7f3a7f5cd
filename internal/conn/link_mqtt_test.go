package conn

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

func TestConnackCodes(t *testing.T) {
	for code, want := range map[byte]event.Cause{
		1: event.CauseConnackProtocolVersion, 2: event.CauseConnackIdentifier, 3: event.CauseConnackServerUnavailable,
		4: event.CauseConnackBadCredentials, 5: event.CauseConnackNotAuthorized, 6: event.CauseConnackOther, 200: event.CauseConnackOther,
	} {
		var logins atomic.Int32
		b := serve(t, nil, func(p *peer) {
			logins.Add(1)
			p.receive()
			p.send(0x20, 2, 0, code)
		})
		f := openFails(t, attemptAt(b.plain()), longWait, want)
		if !f.Refused() || f.Code != code || !strings.Contains(f.Detail, fmt.Sprint(code)) {
			t.Errorf("code %d gives %+v", code, f)
		}
		if n := logins.Load(); n != 1 { // the library would try again as MQTT 3.1
			t.Errorf("code %d was asked for %d times", code, n)
		}
	}
}

func TestWhatIsNoConnack(t *testing.T) {
	for name, answer := range map[string][]byte{
		"an HTTP answer":        []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a connack of one byte": {0x20, 1, 0},
		"a publish":             publishPacket("/x", "y", 0, 0),
		"255 MiB announced":     {0x30, 0xff, 0xff, 0xff, 0x7f},
		"garbage":               {0x00, 0xde, 0xad, 0xbe, 0xef},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, nil, func(p *peer) { p.receive(); p.send(answer...); p.untilClosed() })
			openFails(t, attemptAt(b.plain()), longWait, event.CauseProtocolViolation)
		})
	}
}

func TestACutAfterEachByteOfConnack(t *testing.T) {
	for n := range connackOK {
		b := serve(t, nil, func(p *peer) { p.receive(); p.send(connackOK[:n]...) })
		want := event.CauseNetwork
		if n == 0 {
			want = event.CauseClosedByServer
		}
		openFails(t, attemptAt(b.plain()), longWait, want)
	}
}

func TestConnectSaysWhatWasAskedFor(t *testing.T) {
	connects := make(chan []byte, 1)
	b := serve(t, nil, func(p *peer) { connects <- p.accept(); p.serveOn() })
	a := attemptAt(b.plain())
	a.settings.KeepAlive, a.settings.CleanSession = 5*time.Minute, false
	openLink(t, a)
	packet := <-connects
	if level, flags, keepAlive := packet[8], packet[9], binary.BigEndian.Uint16(packet[10:]); level != 4 || flags != 0xc0 || keepAlive != 300 {
		t.Errorf("level %d, flags %#x, keep alive %d", level, flags, keepAlive)
	}
}

func TestADisconnectIsSaid(t *testing.T) {
	last := make(chan []byte, 1)
	b := serve(t, nil, func(p *peer) { p.accept(); last <- p.serveOn() })
	openLink(t, attemptAt(b.plain())).Close(t.Context())
	if packet := <-last; len(packet) == 0 || packet[0] != 0xe0 {
		t.Errorf("the last packet was %x", packet)
	}
}

func TestHowALinkEnds(t *testing.T) {
	ca := newAuthority(t, "test root", inYears(5))
	config := ca.issue(t, inYears(1), host)
	for name, test := range map[string]struct {
		secure  bool
		script  func(p *peer)
		cause   event.Cause
		goodbye bool
	}{
		"plain, closed":           {false, func(*peer) {}, event.CauseClosedByServer, true},
		"plain, reset":            {false, (*peer).reset, event.CauseNetwork, false},
		"TLS, farewell":           {true, func(*peer) {}, event.CauseClosedByServer, true},
		"TLS, cut":                {true, func(p *peer) { _ = p.beneath().Close() }, event.CauseClosedByServer, false},
		"TLS, reset":              {true, (*peer).reset, event.CauseNetwork, false},
		"in the middle":           {false, func(p *peer) { p.send(publishPacket("/x", "hello", 0, 0)[:5]...) }, event.CauseNetwork, false},
		"suback with many codes":  {false, func(p *peer) { p.send(0x90, 4, 0, 1, 0, 0); p.untilClosed() }, event.CauseProtocolViolation, false},
		"a second connack":        {false, func(p *peer) { p.send(connackOK...); p.untilClosed() }, event.CauseProtocolViolation, false},
		"255 MiB":                 {false, func(p *peer) { p.send(0x30, 0xff, 0xff, 0xff, 0x7f); p.untilClosed() }, event.CauseProtocolViolation, false},
		"a publish of QoS 2":      {false, func(p *peer) { p.send(publishPacket("/x", "y", 2, 1)...); p.untilClosed() }, event.CauseProtocolViolation, false},
		"what only a client says": {false, func(p *peer) { p.send(0xc0, 0); p.untilClosed() }, event.CauseProtocolViolation, false},
	} {
		t.Run(name, func(t *testing.T) {
			up := make(chan struct{})
			script := func(p *peer) { p.accept(); <-up; test.script(p) }
			var target Target
			if test.secure {
				target = serve(t, config, script).secure(host, ca.pem)
			} else {
				target = serve(t, nil, script).plain()
			}
			l := openLink(t, attemptAt(target))
			close(up)
			if f := ended(t, l); f.Cause != test.cause || f.goodbye != test.goodbye {
				t.Errorf("ended by %q, a farewell: %v: %s", f.Cause, f.goodbye, f.Detail)
			}
		})
	}
}

func TestAServerThatAnswersNoPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := overPipe(t, func(p *peer) { p.accept(); p.untilClosed() })
		begin := time.Now()
		if f := ended(t, l); f.Cause != event.CauseKeepaliveTimeout || time.Since(begin) > 2*time.Minute {
			t.Errorf("ended by %q after %v: %s", f.Cause, time.Since(begin), f.Detail)
		}
	})
}

func TestAServerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		l := overPipe(t, func(p *peer) { p.accept(); <-stuck })
		t.Cleanup(func() { close(stuck) })
		if f := ended(t, l); f.Cause != event.CauseWriteTimeout && f.Cause != event.CauseKeepaliveTimeout {
			t.Errorf("ended by %q: %s", f.Cause, f.Detail)
		}
	})
}

func TestAMessageOfQoS1IsAcknowledged(t *testing.T) {
	acks := make(chan []byte, 1)
	b := serve(t, nil, func(p *peer) {
		p.accept()
		p.send(publishPacket("/x", "hello", 1, 77)...)
		acks <- p.receive()
		p.serveOn()
	})
	heard := make(chan string, 1)
	a := attemptAt(b.plain())
	a.onMessage = func(m message.Incoming, ack func()) {
		ack()
		heard <- m.Topic + " " + string(m.Payload)
	}
	openLink(t, a)
	if got := <-heard; got != "/x hello" {
		t.Errorf("heard %q", got)
	}
	if ack := <-acks; len(ack) != 4 || ack[0] != typePuback<<4 || ack[3] != 77 {
		t.Errorf("acknowledged by %x", ack)
	}
}

func TestAThousandLinksLeaveNothingBehind(t *testing.T) {
	b := serve(t, nil, func(p *peer) { p.accept(); p.serveOn() })
	d := newDialer(nil)
	round := func() {
		l, err := d.openMQTT(t.Context(), attemptAt(b.plain()))
		if err != nil {
			t.Fatal(err)
		}
		l.Close(context.Background())
	}
	round()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 1000 {
		round()
	}
	// The server's side of the last ones may still be on its way out.
	for deadline := time.Now().Add(longWait); runtime.NumGoroutine() > goroutines+2 || openFiles(t) > files+2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d files became %d and %d", goroutines, files, runtime.NumGoroutine(), openFiles(t))
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
