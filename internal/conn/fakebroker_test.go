package conn

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// fakeBroker is a server on loopback that does to each connection what its script says, good or bad. When the script returns, the
// connection is closed.
type fakeBroker struct {
	t        *testing.T
	listener net.Listener
	script   func(p *peer)
	running  sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

// peer is the server's side of one connection.
type peer struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// serve starts a broker for plain TCP or, when config is given, for TLS.
func serve(t *testing.T, config *tls.Config, script func(p *peer)) *fakeBroker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{t: t, listener: listener, script: script, open: map[net.Conn]bool{}}
	b.running.Go(func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.handle(raw, config) })
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *fakeBroker) handle(raw net.Conn, config *tls.Config) {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		_ = raw.Close()
		return
	}
	b.open[raw] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.open, raw)
		b.mu.Unlock()
		_ = raw.Close()
	}()
	conn := raw
	if config != nil {
		secure := tls.Server(raw, config)
		if secure.HandshakeContext(context.Background()) != nil {
			return
		}
		defer func() { _ = secure.Close() }() // says close_notify
		conn = secure
	}
	b.script(newPeer(b.t, conn))
}

func (b *fakeBroker) stop() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.ended = true
	for c := range b.open {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.running.Wait()
}

func (b *fakeBroker) port() int { return b.listener.Addr().(*net.TCPAddr).Port }

// plain is the broker as a target without TLS.
func (b *fakeBroker) plain() Target {
	return Target{Endpoint: platform.Endpoint{Host: "127.0.0.1", Port: b.port()}, TLS: TLS{PlainTCP: true}}
}

// secure is the broker as a target by a name that is not resolved.
func (b *fakeBroker) secure(host, caPEM string) Target {
	return Target{Endpoint: platform.Endpoint{Host: host, Port: b.port()}, DialAddress: "127.0.0.1", TLS: TLS{CAPEM: caPEM}}
}

func newPeer(t *testing.T, c net.Conn) *peer { return &peer{Conn: c, t: t, in: bufio.NewReader(c)} }

// receive reads one packet, whole; nil when the connection has ended.
func (p *peer) receive() []byte {
	packet := make([]byte, 2, 64)
	if _, err := io.ReadFull(p.in, packet); err != nil {
		return nil
	}
	length, shift := int(packet[1]&0x7f), 7
	for packet[len(packet)-1]&0x80 != 0 {
		b, err := p.in.ReadByte()
		if err != nil {
			return nil
		}
		packet = append(packet, b)
		length |= int(b&0x7f) << shift
		shift += 7
	}
	header := len(packet)
	packet = append(packet, make([]byte, length)...)
	if _, err := io.ReadFull(p.in, packet[header:]); err != nil {
		return nil
	}
	return packet
}

// send writes bytes. The client may have closed already; then it does not matter.
func (p *peer) send(bytes ...byte) { _, _ = p.Write(bytes) }

var connackOK = []byte{0x20, 2, 0, 0}

// accept reads CONNECT and accepts it.
func (p *peer) accept() (connect []byte) {
	connect = p.receive()
	p.send(connackOK...)
	return connect
}

// serveOn answers pings until the connection ends and returns the last packet that was none.
func (p *peer) serveOn() (last []byte) {
	for {
		packet := p.receive()
		switch {
		case packet == nil:
			return last
		case packet[0] == typePingreq<<4:
			p.send(typePingresp<<4, 0)
		default:
			last = packet
		}
	}
}

// untilClosed reads and does nothing about it, until the connection ends.
func (p *peer) untilClosed() { _, _ = io.Copy(io.Discard, p.in) }

// reset ends the connection by a TCP reset, beneath TLS if there is TLS.
func (p *peer) reset() {
	raw := p.beneath()
	_ = raw.(*net.TCPConn).SetLinger(0)
	_ = raw.Close()
}

func (p *peer) beneath() net.Conn {
	if secure, ok := p.Conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return p.Conn
}

// publishPacket is a PUBLISH; id counts with QoS 1.
func publishPacket(topic, payload string, qos byte, id uint16) []byte {
	body := append([]byte{byte(len(topic) >> 8), byte(len(topic))}, topic...)
	if qos > 0 {
		body = append(body, byte(id>>8), byte(id))
	}
	body = append(body, payload...)
	packet := []byte{typePublish<<4 | qos<<1}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			packet = append(packet, byte(n))
			break
		}
		packet = append(packet, byte(n)|0x80)
	}
	return append(packet, body...)
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T, name string, until time.Time) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{}
	a.cert, a.key = sign(t, template, nil)
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return a
}

// issue makes a server's certificate and the configuration of a server that has it.
func (a *authority) issue(t *testing.T, until time.Time, names ...string) *tls.Config {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server of " + names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, key := sign(t, template, a)
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}
}

func sign(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &authority{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func inYears(n int) time.Time { return time.Now().AddDate(n, 0, 0) }

// attemptAt is an attempt to log in at a target.
func attemptAt(target Target) attempt {
	settings := DefaultSettings()
	settings.Target = target
	return attempt{
		id: dev1, settings: settings, onMessage: func(message.Incoming, func()) {},
		login: platform.Login{ClientID: "the client id", Username: "the user name", Password: device.NewSecret("the password")},
	}
}

// openLink logs in, which must succeed. The link is closed when the test ends.
func openLink(t *testing.T, a attempt) *mqttLink {
	t.Helper()
	l, err := newDialer(nil).openMQTT(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l.(*mqttLink)
}

// openFails logs in, which must fail with a *Failure of the cause within patience.
func openFails(t *testing.T, a attempt, patience time.Duration, want event.Cause) *Failure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := newDialer(nil).openMQTT(ctx, a)
	if err == nil {
		l.Close(context.Background())
		t.Fatalf("the link is up; want the failure %q", want)
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Cause != want {
		t.Fatalf("got %T: %v; want the cause %q", err, err, want)
	}
	return f
}

// ended waits for the end of a link.
func ended(t *testing.T, l link) *Failure {
	t.Helper()
	select {
	case <-l.Done():
	case <-time.After(10 * time.Minute): // virtual, or the test's own limit comes first
		t.Fatal("the link does not end")
	}
	f := l.Failure()
	if f == nil {
		t.Fatal("the link ended without a failure")
	}
	return f
}

// longWait is more than any test takes that waits for something that comes.
const longWait = 30 * time.Second

// pipe is a connection in memory, for tests whose time is virtual. A Write ends when the other side has read.
func pipe() (client, server net.Conn) {
	c, s := net.Pipe()
	return tidy{c}, s
}

// tidy makes a pipe end as a socket does.
type tidy struct{ net.Conn }

func (c tidy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, asSocket(err)
}

func (c tidy) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, asSocket(err)
}

func (c tidy) SetDeadline(d time.Time) error      { return asSocket(c.Conn.SetDeadline(d)) }
func (c tidy) SetReadDeadline(d time.Time) error  { return asSocket(c.Conn.SetReadDeadline(d)) }
func (c tidy) SetWriteDeadline(d time.Time) error { return asSocket(c.Conn.SetWriteDeadline(d)) }

func asSocket(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return &net.OpError{Op: "use", Net: "pipe", Err: net.ErrClosed}
	}
	return err
}

// overPipe logs in over a pipe whose other side follows the script, until the test ends.
func overPipe(t *testing.T, script func(p *peer)) link {
	t.Helper()
	client, server := pipe()
	var running sync.WaitGroup
	running.Go(func() {
		defer func() { _ = server.Close() }()
		script(newPeer(t, server))
	})
	l, err := logIn(t.Context(), client, greeting{}, attemptAt(Target{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close(context.Background())
		_ = server.Close()
		running.Wait()
	})
	return l
}

func concat(parts ...[]byte) []byte { return slices.Concat(parts...) }
