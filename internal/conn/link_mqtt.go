package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

const (
	// pingTimeout is how long the server may take to answer a PINGREQ.
	pingTimeout = 10 * time.Second
	// farewell is how long DISCONNECT may take to leave.
	farewell = time.Second
)

// attempt is all that one try to log in needs.
type attempt struct {
	id       device.ID
	settings Settings
	login    platform.Login
	// registering: the login is a registration's, for which the platform checks no keep alive.
	registering bool
	// onMessage gets each message on the library's goroutine: it must not block and not call the link. ack tells the platform that the
	// message has been received (QoS 1); it may be called later, by any goroutine, and does nothing once the link has ended.
	onMessage func(m message.Incoming, ack func())
}

// link is one live connection that the platform has accepted.
type link interface {
	// Done is closed when the link has ended, by loss or by Close. WhenDone has f called then, or now if it has; f must not wait. Another f
	// takes the place of the first.
	Done() <-chan struct{}
	WhenDone(f func())
	// Failure says why, after Done.
	Failure() *Failure
	SessionPresent() bool
	Warnings() []event.Warning
	// Certificates are those of the server, zero without TLS.
	Certificates() Certificates
	// Traffic counts bytes since the link began.
	Traffic() (received, sent uint64)
	// Publish hands a message over, for one goroutine at a time. It may wait for the peer to take bytes.
	Publish(topic string, qos byte, payload []byte) pending
	// More says that another Publish follows at once, or that none does. Until then messages may wait, to be written together; without
	// more, what waits is written before it returns.
	More(more bool)
	// Subscribe asks for filters, at QoS 1, and returns the codes of SUBACK; Unsubscribe ends that.
	Subscribe(ctx context.Context, filters []string) (codes []byte, err error)
	Unsubscribe(ctx context.Context, filters []string) error
	// Abort ends the link as lost.
	Abort(f *Failure)
	// Close says DISCONNECT, closes, and waits until the library's goroutines have left, or for ctx.
	Close(ctx context.Context)
}

// pending is a message under way. Error is nil after Done when the platform has acknowledged it (QoS 1), or it was written (QoS 0).
type pending interface {
	Done() <-chan struct{}
	Error() error
}

// mqttLink is a link over the MQTT library. There is a fresh client in each, and none is ever reused. The guard ends it when it fails,
// although the library may not have noticed: a handler that blocks hides a loss from it, and of a ping that could not be written it takes
// no note.
type mqttLink struct {
	linkEnd
	client  mqtt.Client
	guard   *guard
	session bool
	greeted greeting
}

// isDone reports whether a link has ended.
func isDone(l link) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// openMQTT dials, logs in and waits for CONNACK, until ctx ends. Errors are those of dial, or *Failure.
func (d *dialer) openMQTT(ctx context.Context, a attempt) (link, error) {
	conn, greeted, err := d.dial(ctx, a.settings.Target, a.id)
	if err != nil {
		return nil, err
	}
	step := trace.Step(ctx, trace.StepLogin, conn.RemoteAddr().String())
	l, err := logIn(ctx, conn, greeted, a)
	step.End(traceKind(err), err)
	return l, err
}

// logIn makes a link of a connection, and closes the connection when that fails.
func logIn(ctx context.Context, conn net.Conn, greeted greeting, a attempt) (link, error) {
	l := &mqttLink{guard: newGuard(conn), greeted: greeted, linkEnd: linkEnd{done: make(chan struct{})}}
	l.client = mqtt.NewClient(l.options(a))

	token := l.client.Connect()
	stop := context.AfterFunc(ctx, func() { _ = l.guard.Close() })
	<-token.Done() // ends with ctx: the library's read fails at once when the connection is closed under it
	if !stop() && token.Error() == nil {
		l.leave()
		return nil, connackTimeout(ctx)
	}
	if code := l.guard.code(); code > 0 {
		return nil, refusal(byte(code), a.registering)
	}
	if err := token.Error(); err != nil {
		return nil, l.connectFailure(ctx, err)
	}
	l.session = token.(*mqtt.ConnectToken).SessionPresent()
	l.guard.whenDead(l.end)
	return l, nil
}

// options are those under which the library does what it is told and no more; docs/decisions has the reason for each.
func (l *mqttLink) options(a attempt) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().
		AddBroker("tcp://guarded:1"). // never dialled
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return l.guard, nil }).
		SetClientID(a.login.ClientID).SetUsername(a.login.Username).SetPassword(a.login.Password.Reveal()).
		SetProtocolVersion(a.settings.Protocol).SetCleanSession(a.settings.CleanSession).
		SetKeepAlive(a.settings.KeepAlive).SetPingTimeout(pingTimeout).SetWriteTimeout(writeTimeout).
		SetConnectTimeout(2 * a.settings.ConnectTimeout). // ours, by ctx, is sooner
		SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).SetAutoAckDisabled(true)
	onMessage := a.onMessage // alone, since the handler stays as long as the link
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		onMessage(message.Incoming{
			Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Duplicate: m.Duplicate(), ReceivedAt: time.Now(),
		}, m.Ack)
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		l.end(l.lossFailure(err))
	})
	return o
}

// connectFailure says why CONNECT had no good answer. The guard saw more than the library tells.
func (l *mqttLink) connectFailure(ctx context.Context, err error) *Failure {
	_ = l.guard.Close()
	if ctx.Err() != nil {
		return connackTimeout(ctx)
	}
	if f := l.guard.Failure(); f != nil {
		if f.Cause == event.CauseClosedByServer {
			return &Failure{Cause: f.Cause, Err: f, Detail: "the server closed the connection instead of answering CONNECT"}
		}
		return f
	}
	if errors.Is(err, net.ErrClosed) {
		return &Failure{Cause: event.CauseNetwork, Err: err, Detail: "the connection was closed while connecting"}
	}
	return &Failure{Cause: event.CauseProtocolViolation, Err: err, Detail: fmt.Sprintf("CONNECT failed: %v", err)}
}

func connackTimeout(ctx context.Context) *Failure {
	return &Failure{Cause: event.CauseConnackTimeout, Err: context.Cause(ctx), Detail: "the server accepted the connection and did not answer CONNECT in time"}
}

// lossFailure says why an established link ended.
func (l *mqttLink) lossFailure(err error) *Failure {
	if f := l.guard.Failure(); f != nil {
		return f
	}
	if l.guard.waitsForPing() {
		return &Failure{Cause: event.CauseKeepaliveTimeout, Err: err, Detail: fmt.Sprintf("the server did not answer a ping for %s", pingTimeout)}
	}
	return &Failure{Cause: event.CauseProtocolViolation, Err: err, Detail: fmt.Sprintf("the link ended: %v", err)}
}

func (l *mqttLink) SessionPresent() bool       { return l.session }
func (l *mqttLink) Warnings() []event.Warning  { return l.greeted.warnings }
func (l *mqttLink) Certificates() Certificates { return l.greeted.certificates }
func (l *mqttLink) Traffic() (received, sent uint64) {
	return l.guard.bytesIn.Load(), l.guard.out.Load()
}

// Publish is confirmed by the PUBACK of this link and by nothing else: the client is not used for another, so the library has no
// occasion to complete a token when a connection comes back.
func (l *mqttLink) Publish(topic string, qos byte, payload []byte) pending {
	return l.client.Publish(topic, qos, false, payload)
}

func (l *mqttLink) More(more bool) { l.guard.setMore(more) }

func (l *mqttLink) Subscribe(ctx context.Context, filters []string) ([]byte, error) {
	wanted := make(map[string]byte, len(filters))
	for _, f := range filters {
		wanted[f] = 1
	}
	token, ok := l.client.SubscribeMultiple(wanted, nil).(*mqtt.SubscribeToken)
	if !ok {
		return nil, errors.New("the MQTT library gave no token for a SUBSCRIBE")
	}
	if err := l.answered(ctx, token); err != nil {
		return nil, err
	}
	granted := token.Result() // the library takes 0x80 for success
	codes := make([]byte, len(filters))
	for i, f := range filters {
		codes[i] = granted[f]
	}
	return codes, nil
}

func (l *mqttLink) Unsubscribe(ctx context.Context, filters []string) error {
	return l.answered(ctx, l.client.Unsubscribe(filters...))
}

// answered waits for a token, the end of the link, or that of ctx.
func (l *mqttLink) answered(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-l.done:
		return l.Failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *mqttLink) Abort(f *Failure) { l.end(f) }

func (l *mqttLink) Close(ctx context.Context) {
	l.end(&Failure{Cause: event.CauseRequested, Detail: "closed on request"})
	stop := context.AfterFunc(ctx, func() { _ = l.guard.beneath().Close() })
	defer stop()
	l.leave()
}

// leave sends DISCONNECT if the peer takes it, closes the connection, and waits until the library's goroutines have left.
func (l *mqttLink) leave() {
	const quiesce = uint(farewell / time.Millisecond)
	l.client.Disconnect(quiesce) // ends after this time although the library may still be at it
	_ = l.guard.Close()
	l.client.Disconnect(quiesce) // waits for the first one, which nothing holds up any more
}
