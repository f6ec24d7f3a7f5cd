package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// stateDir is one for all tests that do not test it: a certificate authority takes a while to make.
var stateDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		panic(err)
	}
	stateDir = dir
	if _, err := openAuthority(dir); err != nil { // not later, when time may be virtual
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const (
	productKey    = "a1B2c3D4e5F"
	productSecret = "PsSecret01234567"
	deviceSecret  = "0123456789abcdef0123456789abcdef"
)

var (
	dev001 = device.ID{ProductKey: productKey, DeviceName: "dev-001"} // has a secret
	dev002 = device.ID{ProductKey: productKey, DeviceName: "dev-002"} // has none yet
	off001 = device.ID{ProductKey: "offProduct", DeviceName: "off-001"}
)

func fixture() Fixture {
	return Fixture{Products: []FixtureProduct{
		{
			ProductKey: productKey, ProductSecret: device.NewSecret(productSecret), DynamicRegistration: true,
			Devices: []FixtureDevice{{DeviceName: "dev-001", DeviceSecret: device.NewSecret(deviceSecret)}, {DeviceName: "dev-002"}},
		},
		{
			ProductKey: "offProduct", ProductSecret: device.NewSecret(productSecret),
			Devices: []FixtureDevice{{DeviceName: "off-001"}},
		},
	}}
}

// sandbox is one that runs, and its console.
type sandbox struct {
	t *testing.T
	*Sandbox
	sandboxv1.SandboxServiceServer
}

// start runs a sandbox with the fixture, without a limit of logins, on ports of its own, until the test ends.
func start(t *testing.T, change ...func(*Options)) sandbox {
	t.Helper()
	o := Options{
		StateDir: stateDir, Fixture: fixture(), ConnectsPerMinute: -1,
		MQTTAddress: "127.0.0.1:0", MQTTSAddress: "127.0.0.1:0", HTTPSAddress: "127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return sandbox{t, s, s.Service()}
}

// status is what ListDevices tells of a device; nil when it is not there.
func (s sandbox) status(id device.ID) *sandboxv1.DeviceStatus {
	s.t.Helper()
	all, err := s.ListDevices(s.t.Context(), &sandboxv1.ListDevicesRequest{RevealSecrets: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range all.GetDevices() {
		if idOf(d.GetDevice()) == id {
			return d
		}
	}
	return nil
}

// logins is what ListLogins tells of a device.
func (s sandbox) logins(id device.ID) []*sandboxv1.Login {
	s.t.Helper()
	all, err := s.ListLogins(s.t.Context(), &sandboxv1.ListLoginsRequest{Device: toDevice(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	return all.GetLogins()
}

// messages is what ListMessages tells of a device.
func (s sandbox) messages(id device.ID) []*sandboxv1.PublishedMessage {
	s.t.Helper()
	all, err := s.ListMessages(s.t.Context(), &sandboxv1.ListMessagesRequest{Device: toDevice(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	return all.GetMessages()
}

// publish sends a message to a device, and tells what became of it.
func (s sandbox) publish(id device.ID, topic, payload string, qos uint32) sandboxv1.Delivery {
	s.t.Helper()
	r, err := s.PublishDownstream(s.t.Context(), &sandboxv1.PublishDownstreamRequest{
		Device: toDevice(id), Topic: topic, Payload: []byte(payload), Qos: qos,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.GetDelivery()
}

// fault sets one.
func (s sandbox) fault(f *sandboxv1.Fault) {
	s.t.Helper()
	if _, err := s.SetFault(s.t.Context(), &sandboxv1.SetFaultRequest{Fault: f}); err != nil {
		s.t.Fatal(err)
	}
}

// plain and secure open a connection to the port that serves both.
func (s sandbox) plain() *client {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addresses().MQTT)
	if err != nil {
		s.t.Fatal(err)
	}
	return newClient(s.t, conn)
}

func (s sandbox) secure() *client {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.Addresses().MQTT, s.trust("localhost"))
	if err != nil {
		s.t.Fatal(err)
	}
	return newClient(s.t, conn)
}

// trust is the TLS configuration of a device that trusts the sandbox, and asks for a server name.
func (s sandbox) trust(serverName string) *tls.Config {
	s.t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(s.Addresses().CAFile)
	if err != nil {
		s.t.Fatal(err)
	}
	if !roots.AppendCertsFromPEM(ca) {
		s.t.Fatal("the CA file holds no certificate")
	}
	return &tls.Config{RootCAs: roots, ServerName: serverName}
}

// login is a device that is online.
func (s sandbox) login(id device.ID, secret string) *client {
	s.t.Helper()
	c := s.plain()
	if code := c.connect(secretLogin(id, secret)); code != 0 {
		s.t.Fatalf("CONNACK %d", code)
	}
	return c
}

// credentials are a CONNECT's. The rest of it is in the options of connectPacket.
type credentials struct {
	clientID, username, password string
}

func secretLogin(id device.ID, secret string) credentials {
	return fromLogin(platform.SecretLogin(id, device.NewSecret(secret), platform.LoginOptions{PlainTCP: true}))
}

func fromLogin(l platform.Login) credentials {
	return credentials{l.ClientID, l.Username, l.Password.Reveal()}
}

// connectOptions is what a CONNECT may vary.
type connectOptions struct {
	protocol  string
	level     byte
	keepAlive uint16
	flags     byte
	will      bool
}

func connectPacket(who credentials, change ...func(*connectOptions)) []byte {
	o := connectOptions{protocol: "MQTT", level: 4, keepAlive: 60, flags: flagCleanSession | flagUsername | flagPassword}
	for _, c := range change {
		c(&o)
	}
	body := appendText(nil, o.protocol)
	body = binary.BigEndian.AppendUint16(append(body, o.level, o.flags), o.keepAlive)
	body = appendText(body, who.clientID)
	if o.will {
		body[len(o.protocol)+3] |= flagWill
		body = appendText(appendText(body, "will/topic"), "message")
	}
	if o.flags&flagUsername != 0 {
		body = appendText(body, who.username)
	}
	if o.flags&flagPassword != 0 {
		body = appendText(body, who.password)
	}
	return append(appendLength([]byte{typeConnect << 4}, len(body)), body...)
}

func keepAlive(seconds uint16) func(*connectOptions) {
	return func(o *connectOptions) { o.keepAlive = seconds }
}

// client is a device at the level of packets.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // a test that hangs fails
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) write(packets ...[]byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes.Join(packets, nil)); err != nil {
		c.t.Fatal(err)
	}
}

// read is the next packet.
func (c *client) read() packet {
	c.t.Helper()
	p, _, err := readPacket(c.in, nil)
	if err != nil {
		c.t.Fatalf("reading a packet: %v", err)
	}
	return p
}

// connect says CONNECT and returns the CONNACK's code. The session flag must be 0.
func (c *client) connect(who credentials, change ...func(*connectOptions)) byte {
	c.t.Helper()
	c.write(connectPacket(who, change...))
	p := c.read()
	if p.kind != typeConnack || p.flags != 0 || len(p.body) != 2 || p.body[0] != 0 {
		c.t.Fatalf("got %+v and not a CONNACK", p)
	}
	return p.body[1]
}

// wantPacket reads a packet that must be exactly so.
func (c *client) wantPacket(want ...byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.in, got); err != nil {
		c.t.Fatalf("want % x: %v", want, err)
	}
	if !bytes.Equal(got, want) {
		c.t.Fatalf("got % x, want % x", got, want)
	}
}

// wantMessage reads a PUBLISH. It acknowledges nothing.
func (c *client) wantMessage(topic, payload string, qos byte) message {
	c.t.Helper()
	p := c.read()
	m, err := parsePublish(p)
	if err != nil || p.kind != typePublish {
		c.t.Fatalf("got %+v (%v) and not a PUBLISH", p, err)
	}
	if m.topic != topic || string(m.payload) != payload || m.qos != qos || m.duplicate {
		c.t.Fatalf("got %q on %s with QoS %d, want %q on %s with QoS %d", m.payload, m.topic, m.qos, payload, topic, qos)
	}
	return m
}

// wantEOF checks that the server closed the connection in an orderly way, with nothing more sent.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err != io.EOF {
		c.t.Fatalf("got byte %#02x and %v, want the end of the stream", b, err)
	}
}

// wantReset checks that the connection broke.
func (c *client) wantReset() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("got byte %#02x and %v, want a reset", b, err)
	}
}

// ping checks that the link is alive, and that nothing was sent before.
func (c *client) ping() {
	c.t.Helper()
	c.write(pingreq)
	c.wantPacket(pingresp...)
}

var (
	pingreq    = []byte{typePingreq << 4, 0}
	pingresp   = []byte{typePingresp << 4, 0}
	disconnect = []byte{typeDisconnect << 4, 0}
)

func subscribePacket(id uint16, filters ...string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	for _, f := range filters {
		body = append(appendText(body, f), 1)
	}
	return append(appendLength([]byte{typeSubscribe<<4 | 2}, len(body)), body...)
}

func unsubscribePacket(id uint16, filters ...string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	for _, f := range filters {
		body = appendText(body, f)
	}
	return append(appendLength([]byte{typeUnsubscribe<<4 | 2}, len(body)), body...)
}

// subscribe returns the codes of the SUBACK.
func (c *client) subscribe(filters ...string) []byte {
	c.t.Helper()
	c.write(subscribePacket(7, filters...))
	p := c.read()
	if p.kind != typeSuback || len(p.body) < 2 || binary.BigEndian.Uint16(p.body) != 7 {
		c.t.Fatalf("got %+v and not a SUBACK", p)
	}
	return p.body[2:]
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func topicOf(id device.ID, rest string) string {
	return "/" + strings.Join([]string{id.ProductKey, id.DeviceName, rest}, "/")
}
