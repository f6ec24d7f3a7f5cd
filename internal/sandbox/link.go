package sandbox

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const (
	// connectWindow is how long a device may take from the first byte of the connection to the last of its CONNECT.
	connectWindow = 20 * time.Second
	// writeTimeout is how long a device may leave what is sent to it unread.
	writeTimeout = 10 * time.Second
	// farewell is how long a device may take to answer the closing of its connection.
	farewell = time.Second
)

// link is one device's MQTT connection. The goroutine of serve reads it and alone closes it; others ask by end, and write by
// deliver.
type link struct {
	cloud      *cloud
	ctx        context.Context // ends when the sandbox stops
	socket     net.Conn        // as it was accepted
	conn       net.Conn        // what MQTT is spoken over: TLS, or the socket
	tls        bool
	serverName string
	in         *bufio.Reader

	// What follows is set when the CONNECT is judged, before others see the link.
	id            device.ID
	purpose       purpose
	autoSubscribe bool
	customCalls   bool
	faults        effects
	number        uint64
	patience      time.Duration // how long the device may be silent
	until         time.Time     // when a registration's connection ends, whether silent or not; else zero
	session       *session      // that of a registration is empty, and nobody else's

	mu    sync.Mutex
	ended string // why somebody wants the link closed; "" while nobody does

	writing  sync.Mutex // is held while writing; cloud.mu may be taken under it, not the other way round
	out      *bufio.Writer
	sender   *sender     // to which out writes
	outbound []byte      // scratch
	held     *message    // what a fault holds back; nil: nothing
	release  *time.Timer // lets go of it
}

// errDone ends a conversation in an orderly way.
var errDone = errors.New("the device said DISCONNECT")

// serve is a device's connection from the first byte to the last. It never panics.
func (c *cloud) serve(ctx context.Context, socket net.Conn, door door) {
	log := c.log.With("remote", socket.RemoteAddr().String())
	l := &link{cloud: c, ctx: ctx, socket: socket, session: newSession(device.ID{})}
	defer func() {
		if problem := recover(); problem != nil {
			log.Error("a connection's goroutine panicked; the connection is closed", "panic", problem, "stack", string(debug.Stack()))
			c.offline(l)
			_ = socket.Close()
		}
	}()
	_ = socket.SetDeadline(time.Now().Add(connectWindow))
	stop := context.AfterFunc(ctx, func() {
		l.end("the sandbox is stopping")
		_ = socket.SetWriteDeadline(time.Now().Add(farewell))
	})
	defer stop()
	if err := l.open(door); err != nil {
		log.Warn("a connection ended before MQTT", "error", err)
		_ = socket.Close()
		return
	}
	err := l.converse()
	l.forgetHeld()
	deviceLeft := errors.Is(err, io.EOF)
	if why := l.endReason(); why != "" {
		err = errors.New(why)
	}
	c.offline(l)
	if _, broken := errors.AsType[violation](err); broken {
		log.Warn("a connection is closed", "device", l.id, "connection", l.number, "reason", err)
	} else {
		log.Info("a connection ended", "device", l.id, "connection", l.number, "reason", err)
	}
	l.close(deviceLeft)
}

// open does what comes before MQTT: it tells TLS from plain MQTT by the first byte, and shakes hands.
func (l *link) open(door door) error {
	l.conn = l.socket
	defer func() {
		l.in = bufio.NewReader(flushFirst{l})
		l.sender = &sender{link: l}
		l.out = bufio.NewWriter(l.sender)
	}()
	conn := l.socket
	if !door.tlsOnly {
		sniffed, first, err := sniff(l.socket)
		switch {
		case err != nil:
			return fmt.Errorf("it sent nothing: %w", err)
		case first>>4 == typeConnect && first != recordHandshake: // whose upper half is the same
			l.conn = sniffed
			return nil
		case first != recordHandshake:
			return fmt.Errorf("its first byte is %#02x, neither an MQTT CONNECT nor TLS", first)
		}
		conn = sniffed
	}
	secured := tls.Server(conn, door.tls)
	if err := secured.HandshakeContext(l.ctx); err != nil {
		return fmt.Errorf("the TLS handshake failed: %w", err)
	}
	l.conn, l.tls, l.serverName = secured, true, secured.ConnectionState().ServerName
	return nil
}

// converse takes the CONNECT and then every packet, until the link ends. Its error is why.
func (l *link) converse() error {
	p, buf, err := readPacket(l.in, nil)
	if err != nil {
		return fmt.Errorf("no CONNECT came: %w", err)
	}
	if err := l.welcome(p); err != nil {
		return err
	}
	for {
		if err := l.await(); err != nil {
			return err
		}
		p, buf, err = readPacket(l.in, buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && l.purpose.registers():
			return fmt.Errorf("%s have passed since the registration", platform.RegistrationWindow)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("keepalive timeout after %s", l.patience)
		case err != nil:
			return err
		}
		if err := l.handle(p); err != nil {
			return err
		}
	}
}

// await gives the device its time for the next packet.
func (l *link) await() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != "" {
		return errors.New(l.ended)
	}
	deadline := l.until
	if l.patience > 0 {
		deadline = time.Now().Add(l.patience)
	}
	return l.conn.SetReadDeadline(deadline)
}

// end asks for the link to be closed, as the platform does it: without an MQTT packet, in TCP's and TLS's orderly way. It does
// not block.
func (l *link) end(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == "" {
		l.ended = reason
		_ = l.socket.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

func (l *link) endReason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// close ends the connection so that the device reads an end of file, not a reset: what it is still sending is read away first.
func (l *link) close(deviceLeft bool) {
	_ = l.flush()
	if secured, ok := l.conn.(*tls.Conn); ok {
		_ = secured.CloseWrite()
	}
	if half, ok := l.socket.(interface{ CloseWrite() error }); ok && !deviceLeft && half.CloseWrite() == nil {
		_ = l.socket.SetReadDeadline(time.Now().Add(farewell))
		_, _ = io.Copy(io.Discard, l.socket)
	}
	_ = l.socket.Close()
}

// abort closes the connection as a broken network would: at once, with a reset.
func (l *link) abort(reason string) {
	l.end(reason)
	if tcp, ok := l.socket.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = l.socket.Close()
}

// handle answers a packet that came after the CONNECT.
func (l *link) handle(p packet) error {
	if p.kind != typePublish && p.kind != typeSubscribe && p.kind != typeUnsubscribe && p.flags != 0 {
		return violation(fmt.Sprintf("a packet of type %d has the flags %#x", p.kind, p.flags))
	}
	switch p.kind {
	case typePublish:
		return l.onPublish(p)
	case typePuback:
		id, err := parseAck(p)
		if err == nil && l.session.acknowledge(l, id) {
			l.pump()
		}
		return err
	case typeSubscribe:
		return l.onSubscribe(p)
	case typeUnsubscribe:
		return l.onUnsubscribe(p)
	case typePingreq:
		if len(p.body) > 0 {
			return violation("a PINGREQ is not empty")
		}
		if l.faults.swallowPingresp {
			return nil
		}
		return l.send([]byte{typePingresp << 4, 0})
	case typeDisconnect:
		return errDone
	case typeConnect:
		return violation("a second CONNECT came")
	}
	return violation(fmt.Sprintf("a packet of type %d came", p.kind))
}

// onPublish takes a message of the device. What the platform does not permit is acknowledged and dropped: no source tells what
// the platform does, and a strict one closes the connection.
func (l *link) onPublish(p packet) error {
	m, err := parsePublish(p)
	if err != nil {
		return err
	}
	m.topic, _, _ = strings.Cut(m.topic, "?") // the C SDK may append "?_rid=REQUEST_ID"
	if m.topic == "" || strings.ContainsAny(m.topic, "+#") {
		return violation("the topic of a PUBLISH is empty or holds a wildcard")
	}
	if problem := l.refusePublish(m, p.cut); problem != nil {
		l.cloud.refused(l.id)
		l.cloud.log.Warn("a message was dropped", "device", l.id, "topic", m.topic, "reason", problem)
		if l.cloud.options.Strict {
			return fmt.Errorf("a message was refused (a strict sandbox closes the connection): %w", problem)
		}
	} else {
		l.cloud.receive(l, m)
	}
	if m.qos == 0 {
		return nil
	}
	return l.sendPuback(m.id)
}

func (l *link) refusePublish(m message, cut bool) error {
	switch {
	case l.purpose.registers():
		return errors.New("a device that registers may not publish")
	case cut, len(m.payload) > platform.MaxPayloadBytes:
		return fmt.Errorf("its payload has more than %d bytes", platform.MaxPayloadBytes)
	}
	return platform.ValidateTopic(l.id, m.topic)
}

// subscriptionRefused is the code of a filter in a SUBACK.
const subscriptionRefused = 0x80

func (l *link) onSubscribe(p packet) error {
	wanted, err := parseFilters(p)
	if err != nil {
		return err
	}
	codes := make([]byte, len(wanted.names))
	for i, filter := range wanted.names {
		codes[i] = min(wanted.qos[i], 1) // there is no QoS 2 here
		if problem := l.subscribe(filter, i); problem != nil {
			codes[i] = subscriptionRefused
			l.cloud.log.Warn("a subscription was refused", "device", l.id, "filter", filter, "reason", problem)
		}
	}
	return l.sendAck(typeSuback, wanted.id, codes...)
}

// subscribe takes the filter at a position of a SUBSCRIBE.
func (l *link) subscribe(filter string, position int) error {
	switch {
	case l.purpose.registers():
		return errors.New("a device that registers may not subscribe")
	case position >= platform.MaxFiltersPerSubscribe:
		return fmt.Errorf("a SUBSCRIBE may hold %d filters", platform.MaxFiltersPerSubscribe)
	}
	if err := platform.ValidateFilter(l.id, filter); err != nil {
		return err
	}
	return l.session.subscribe(l, filter)
}

func (l *link) onUnsubscribe(p packet) error {
	unwanted, err := parseFilters(p)
	if err != nil {
		return err
	}
	l.session.unsubscribe(l, unwanted.names)
	return l.sendAck(typeUnsuback, unwanted.id)
}
