package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
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
	// onMessage gets each message on the library's goroutine: it must not block and not call the link.
	onMessage func(topic string, payload []byte)
}

// link is one live connection that the platform has accepted.
type link interface {
	// Done is closed when the link has ended, by loss or by Close.
	Done() <-chan struct{}
	// Failure says why, after Done.
	Failure() *Failure
	SessionPresent() bool
	Warnings() []event.Warning
	// Traffic counts bytes since the link began.
	Traffic() (received, sent uint64)
	// Close says DISCONNECT, closes, and waits until the library's goroutines have left, or for ctx.
	Close(ctx context.Context)
}

// mqttLink is a link over the MQTT library. There is a fresh client in each, and none is ever reused.
type mqttLink struct {
	client   mqtt.Client
	guard    *guard
	session  bool
	warnings []event.Warning

	mu      sync.Mutex
	failure *Failure
	done    chan struct{}
	gone    chan struct{} // closed when the library has dealt with a loss
}

// openMQTT dials, logs in and waits for CONNACK, until ctx ends. All errors are *Failure.
func (d *dialer) openMQTT(ctx context.Context, a attempt) (link, error) {
	conn, warnings, err := d.dial(ctx, a.settings.Target, a.id)
	if err != nil {
		return nil, err
	}
	l := &mqttLink{guard: newGuard(conn), warnings: warnings, done: make(chan struct{}), gone: make(chan struct{})}
	l.client = mqtt.NewClient(l.options(a))

	token := l.client.Connect()
	stop := context.AfterFunc(ctx, func() { _ = l.guard.Close() })
	<-token.Done() // ends with ctx: the library's read fails at once when the connection is closed under it
	if !stop() && token.Error() == nil {
		l.client.Disconnect(0)
		return nil, connackTimeout(ctx)
	}
	if code := l.guard.code(); code > 0 {
		return nil, refusal(byte(code), a.registering)
	}
	if err := token.Error(); err != nil {
		return nil, l.connectFailure(ctx, err)
	}
	l.session = token.(*mqtt.ConnectToken).SessionPresent()
	go l.watch()
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
		SetConnectTimeout(2*a.settings.ConnectTimeout). // ours, by ctx, is sooner
		SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).SetAutoAckDisabled(true)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		a.onMessage(m.Topic(), m.Payload())
		m.Ack() // a message that is never acknowledged would fill the platform's window of 100
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		l.end(l.lossFailure(err))
		close(l.gone)
	})
	return o
}

// watch ends the link when the guard fails although the library has not noticed: a handler that blocks hides a loss from it.
func (l *mqttLink) watch() {
	select {
	case <-l.guard.dead:
		l.end(l.guard.Failure())
	case <-l.done:
	}
}

func (l *mqttLink) end(f *Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = f
		close(l.done)
	}
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

func (l *mqttLink) Done() <-chan struct{} { return l.done }

func (l *mqttLink) Failure() *Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

func (l *mqttLink) SessionPresent() bool      { return l.session }
func (l *mqttLink) Warnings() []event.Warning { return l.warnings }
func (l *mqttLink) Traffic() (received, sent uint64) {
	return l.guard.bytesIn.Load(), l.guard.out.Load()
}

func (l *mqttLink) Close(ctx context.Context) {
	lost := l.Failure() != nil
	l.end(&Failure{Cause: event.CauseRequested, Detail: "closed on request"})
	if lost {
		select { // the library leaves by itself, and then says so
		case <-l.gone:
		case <-ctx.Done():
		case <-time.After(farewell):
		}
	}
	l.client.Disconnect(uint(farewell / time.Millisecond))
	_ = l.guard.Close()
}
