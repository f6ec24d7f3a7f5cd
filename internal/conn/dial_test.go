package conn

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const host = "broker.example.com"

func TestNobodyListens(t *testing.T) {
	b := serve(t, nil, (*peer).untilClosed)
	target := b.plain()
	b.stop()
	openFails(t, attemptAt(target), longWait, event.CauseDialRefused)
}

func TestANameThatDoesNotExist(t *testing.T) {
	target := Target{Endpoint: platform.Endpoint{Host: "no-such-host.invalid"}}
	if f := openFails(t, attemptAt(target), longWait, event.CauseDNS); !strings.Contains(f.Detail, "no-such-host.invalid") {
		t.Error(f.Detail)
	}
}

// TestABlackHole fills the queue of a listener that accepts nobody: from then on the kernel answers no further SYN.
func TestABlackHole(t *testing.T) {
	hole, err := fullListener(t)
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Endpoint: platform.Endpoint{Host: "127.0.0.1", Port: hole}, TLS: TLS{PlainTCP: true}}
	openFails(t, attemptAt(target), 300*time.Millisecond, event.CauseDialTimeout)
}

func TestAServerThatAcceptsAndSaysNothing(t *testing.T) {
	b := serve(t, nil, (*peer).untilClosed)
	openFails(t, attemptAt(b.plain()), 100*time.Millisecond, event.CauseConnackTimeout)
	ca := newAuthority(t, "test root", inYears(5))
	openFails(t, attemptAt(b.secure(host, ca.pem)), 100*time.Millisecond, event.CauseTLSOther) // in the handshake
}

func TestEachFaultOfACertificateHasItsCause(t *testing.T) {
	ca, other := newAuthority(t, "test root", inYears(5)), newAuthority(t, "another root", inYears(5))
	yesterday := time.Now().Add(-24 * time.Hour)
	for name, test := range map[string]struct {
		until time.Time
		names string
		trust *authority
		want  event.Cause
	}{
		"another name":   {inYears(1), "another.example.com", ca, event.CauseTLSNameMismatch},
		"untrusted root": {inYears(1), host, other, event.CauseTLSUntrusted},
		"expired":        {yesterday, host, ca, event.CauseTLSExpired},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, ca.issue(t, test.until, test.names), (*peer).untilClosed)
			f := openFails(t, attemptAt(b.secure(host, test.trust.pem)), longWait, test.want)
			for _, part := range []string{"server of " + test.names, "test root", test.until.UTC().Format("2006-01-02T15:04"), host} {
				if !strings.Contains(f.Detail, part) {
					t.Errorf("%q does not name %q", f.Detail, part)
				}
			}
		})
	}
}

func TestTLSToAPortThatDoesNotSpeakIt(t *testing.T) {
	b := serve(t, nil, func(p *peer) { p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...) })
	openFails(t, attemptAt(b.secure(host, newAuthority(t, "x", inYears(5)).pem)), longWait, event.CauseTLSOther)
	b = serve(t, nil, func(*peer) {})
	openFails(t, attemptAt(b.secure(host, newAuthority(t, "x", inYears(5)).pem)), longWait, event.CauseTLSOther)
}

func TestTheNameIsVerifiedWhereverIsDialled(t *testing.T) {
	ca := newAuthority(t, "test root", inYears(5))
	b := serve(t, ca.issue(t, inYears(1), host), func(p *peer) { p.accept(); p.serveOn() })
	if l := openLink(t, attemptAt(b.secure(host, ca.pem))); len(l.Warnings()) != 0 {
		t.Errorf("warned of %v", l.Warnings())
	}
	openFails(t, attemptAt(b.secure("elsewhere.example.com", ca.pem)), longWait, event.CauseTLSNameMismatch)
}

func TestWithoutTheNameTheChainIsStillVerified(t *testing.T) {
	ca := newAuthority(t, "test root", inYears(5))
	b := serve(t, ca.issue(t, inYears(1), "another.example.com"), func(p *peer) { p.accept(); p.serveOn() })
	target := b.secure(host, ca.pem)
	target.TLS.SkipHostnameVerification = true
	l := openLink(t, attemptAt(target))
	if w := l.Warnings(); len(w) != 1 || w[0].Code != event.WarnHostnameNotVerified || !strings.Contains(w[0].Detail, "another.example.com") {
		t.Errorf("warned of %v", w)
	}
	target.TLS.CAPEM = newAuthority(t, "another root", inYears(5)).pem
	openFails(t, attemptAt(target), longWait, event.CauseTLSUntrusted)
}

func TestARootThatEndsSoonIsWarnedOf(t *testing.T) {
	ca := newAuthority(t, "ending root", inYears(1))
	b := serve(t, ca.issue(t, time.Now().AddDate(0, 6, 0), host), func(p *peer) { p.accept(); p.serveOn() })
	l := openLink(t, attemptAt(b.secure(host, ca.pem)))
	if c := l.Certificates(); !c.Root.Equal(ca.cert.NotAfter) || !c.Leaf.Before(c.Root) || c.Leaf.Before(time.Now().AddDate(0, 5, 0)) {
		t.Errorf("the certificates end %+v", c)
	}
	w := l.Warnings()
	if len(w) != 1 || w[0].Code != event.WarnRootExpires || !strings.Contains(w[0].Detail, "ending root") ||
		!strings.Contains(w[0].Detail, inYears(1).UTC().Format(time.DateOnly)) {
		t.Errorf("warned of %v", w)
	}
}

func TestPlainTCPIsWarnedOf(t *testing.T) {
	b := serve(t, nil, func(p *peer) { p.accept(); p.serveOn() })
	if w := openLink(t, attemptAt(b.plain())).Warnings(); len(w) != 1 || w[0].Code != event.WarnPlainTCP {
		t.Errorf("warned of %v", w)
	}
}

func TestDiallingIsCutShort(t *testing.T) {
	hole, err := fullListener(t)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	target := Target{Endpoint: platform.Endpoint{Host: "127.0.0.1", Port: hole}, TLS: TLS{PlainTCP: true}}
	if _, err := newDialer(nil).openMQTT(ctx, attemptAt(target)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// fullListener is a port on which nobody gets an answer: its queue is full.
func fullListener(t *testing.T) (port int, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	t.Cleanup(func() { _ = l.Close() })
	shrink(t, l.(*net.TCPListener))
	for range 8 { // more than a queue of one holds
		if c, err := net.DialTimeout("tcp", l.Addr().String(), 50*time.Millisecond); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return l.Addr().(*net.TCPAddr).Port, nil
}

// shrink gives a listener the shortest queue there is.
func shrink(t *testing.T, l *net.TCPListener) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = listenAgain(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// listenAgain sets the length of the queue anew; Linux permits that.
func listenAgain(fd int) error { return unix.Listen(fd, 0) }
