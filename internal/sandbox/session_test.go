package sandbox

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// lasting is a CONNECT with clean_session=false.
func lasting(o *connectOptions) { o.flags &^= flagCleanSession }

// resume logs dev-001 in with a session that lasts, and checks what the platform says of it.
func (c *client) resume(wantPresent bool) *client {
	c.t.Helper()
	c.write(connectPacket(secretLogin(dev001, deviceSecret), lasting))
	c.wantPacket(connack(0, wantPresent)...)
	return c
}

// wantAgain reads a PUBLISH of QoS 1 that is marked as sent before.
func (c *client) wantAgain(topic, payload string, id uint16) {
	c.t.Helper()
	p := c.read()
	m, err := parsePublish(p)
	if err != nil || p.kind != typePublish || m.topic != topic || string(m.payload) != payload || m.qos != 1 || m.id != id || !m.duplicate {
		c.t.Fatalf("got %+v (%v), want %q on %s again, with the identifier %d", m, err, payload, topic, id)
	}
}

// hangUp breaks the device's connection, and waits until the platform knows.
func (s sandbox) hangUp(c *client) {
	s.t.Helper()
	c.conn.Close()
	eventually(s.t, "offline", func() bool { return !s.status(dev001).GetOnline() })
}

// backlog waits until so many messages are unacknowledged and so many wait.
func (s sandbox) backlog(unacked, waiting uint32) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d unacknowledged and %d queued", unacked, waiting), func() bool {
		d := s.status(dev001)
		return d.GetMessagesUnacknowledged() == unacked && d.GetMessagesQueued() == waiting
	})
}

var userGet = topicOf(dev001, "user/get")

func TestASessionThatLastsKeepsSubscriptionsAndMessages(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.hangUp(c)
	if d := s.status(dev001); !d.GetSessionLasts() {
		t.Errorf("the device is %v", d)
	}
	for _, m := range []struct {
		topic, payload string
		qos            uint32
		want           sandboxv1.Delivery
	}{
		{userGet, "one", 1, sandboxv1.Delivery_DELIVERY_QUEUED},
		{userGet, "nothing is kept of QoS 0", 0, sandboxv1.Delivery_DELIVERY_OFFLINE},
		{topicOf(dev001, "user/other"), "not subscribed", 1, sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED},
		{userGet, "two", 1, sandboxv1.Delivery_DELIVERY_QUEUED},
		{"/sys/a1B2c3D4e5F/dev-001/thing/service/property/set", "automatic", 1, sandboxv1.Delivery_DELIVERY_QUEUED},
	} {
		if got := s.publish(dev001, m.topic, m.payload, m.qos); got != m.want {
			t.Errorf("%s: %v, want %v", m.payload, got, m.want)
		}
	}
	s.backlog(0, 3)
	c = s.plain().resume(true)
	c.wantMessage(userGet, "one", 1)
	c.wantMessage(userGet, "two", 1)
	c.wantMessage("/sys/a1B2c3D4e5F/dev-001/thing/service/property/set", "automatic", 1)
	if got := s.publish(dev001, userGet, "now", 0); got != sandboxv1.Delivery_DELIVERY_SENT {
		t.Errorf("the subscription was lost: %v", got)
	}
	c.wantMessage(userGet, "now", 0)
}

func TestASessionThatLastsKeepsWhatWasUnsubscribed(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	const set = "/sys/a1B2c3D4e5F/dev-001/thing/service/property/set"
	c.subscribe(userGet)
	c.write(unsubscribePacket(8, set, userGet))
	c.wantPacket(ack(typeUnsuback, 8)...)
	s.hangUp(c)
	for _, topic := range []string{set, userGet} {
		if got := s.publish(dev001, topic, "", 1); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
			t.Errorf("while offline, %s: %v", topic, got)
		}
	}
	s.plain().resume(true).ping()
	for _, topic := range []string{set, userGet} {
		if got := s.publish(dev001, topic, "", 0); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
			t.Errorf("online again, %s: %v", topic, got)
		}
	}
}

func TestWhatWasNotAcknowledgedComesAgainBeforeWhatWaits(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	var ids [4]uint16
	for i := range ids {
		s.publish(dev001, userGet, fmt.Sprint(i), 1)
		ids[i] = c.wantMessage(userGet, fmt.Sprint(i), 1).id
	}
	c.write(ack(typePuback, ids[1]))
	s.backlog(3, 0)
	s.hangUp(c)
	s.publish(dev001, userGet, "4", 1)
	for range 2 { // as often as the device comes back
		c = s.plain().resume(true)
		for _, i := range []int{0, 2, 3} {
			c.wantAgain(userGet, fmt.Sprint(i), ids[i])
		}
		p, err := parsePublish(c.read())
		if err != nil || string(p.payload) != "4" || p.id == ids[0] || p.id == ids[2] || p.id == ids[3] {
			t.Fatalf("got %+v (%v)", p, err)
		}
		s.hangUp(c)
	}
	c = s.plain().resume(true)
	for range 4 {
		m, err := parsePublish(c.read())
		if err != nil || !m.duplicate {
			t.Fatalf("got %+v (%v)", m, err)
		}
		c.write(ack(typePuback, m.id))
	}
	s.backlog(0, 0)
	s.hangUp(c)
	s.plain().resume(true).ping() // and nothing is left to come
}

func TestACleanLoginDiscardsTheSession(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.publish(dev001, userGet, "unacknowledged", 1)
	c.wantMessage(userGet, "unacknowledged", 1)
	s.hangUp(c)
	s.publish(dev001, userGet, "queued", 1)

	c = s.login(dev001, deviceSecret) // which checks that no session is said to be present
	c.ping()
	if got := s.publish(dev001, userGet, "", 1); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Errorf("the subscription was kept: %v", got)
	}
	if d := s.status(dev001); d.GetSessionLasts() || d.GetMessagesQueued() > 0 || d.GetMessagesUnacknowledged() > 0 {
		t.Errorf("the device is %v", d)
	}
	s.hangUp(c)
	if got := s.publish(dev001, userGet, "", 1); got != sandboxv1.Delivery_DELIVERY_OFFLINE {
		t.Errorf("to an offline device without a session: %v", got)
	}
	s.plain().resume(false).ping()
}

func TestANewLoginTakesTheSessionOver(t *testing.T) {
	s := start(t)
	older := s.plain().resume(false)
	older.subscribe(userGet)
	s.publish(dev001, userGet, "one", 1)
	id := older.wantMessage(userGet, "one", 1).id
	newer := s.secure().resume(true)
	older.wantEOF()
	newer.wantAgain(userGet, "one", id)
	s.publish(dev001, userGet, "two", 1)
	newer.wantMessage(userGet, "two", 1)

	if _, err := s.KickDevice(t.Context(), &sandboxv1.KickDeviceRequest{Device: toDevice(dev001)}); err != nil {
		t.Fatal(err)
	}
	newer.wantEOF()
	if got := s.publish(dev001, userGet, "three", 1); got != sandboxv1.Delivery_DELIVERY_QUEUED {
		t.Errorf("after the kick: %v", got)
	}
	c := s.plain().resume(true)
	c.wantAgain(userGet, "one", id)
	c.wantAgain(userGet, "two", id+1)
	c.wantMessage(userGet, "three", 1)
}

func TestALoginThatLastsTakesNothingFromOneThatDoesNot(t *testing.T) {
	s := start(t)
	older := s.login(dev001, deviceSecret)
	older.subscribe(userGet)
	newer := s.plain().resume(false)
	older.wantEOF()
	newer.ping()
	if got := s.publish(dev001, userGet, "", 1); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Error(got)
	}
}

func TestMQTT31KnowsNoSessionFlag(t *testing.T) {
	s := start(t)
	for range 2 {
		c := s.plain()
		c.connect(secretLogin(dev001, deviceSecret), lasting, func(o *connectOptions) { o.protocol, o.level = "MQIsdp", 3 }) // which wants 0
		c.subscribe(userGet)
		s.hangUp(c)
	}
	if got := s.publish(dev001, userGet, "", 1); got != sandboxv1.Delivery_DELIVERY_QUEUED {
		t.Error(got)
	}
}

func TestAHundredMessagesAreAheadOfTheirAcknowledgements(t *testing.T) {
	for name, login := range map[string]func(*client){
		"a session that lasts": func(c *client) { c.resume(false) },
		"a clean session":      func(c *client) { c.connect(secretLogin(dev001, deviceSecret)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.plain()
			login(c)
			c.subscribe(userGet)
			for i := range platform.MaxUnacknowledged + 5 {
				want := sandboxv1.Delivery_DELIVERY_SENT
				if i >= platform.MaxUnacknowledged {
					want = sandboxv1.Delivery_DELIVERY_QUEUED
				}
				if got := s.publish(dev001, userGet, fmt.Sprint(i), 1); got != want {
					t.Fatalf("message %d: %v", i, got)
				}
			}
			s.backlog(platform.MaxUnacknowledged, 5)
			var ids []uint16
			for i := range platform.MaxUnacknowledged {
				ids = append(ids, c.wantMessage(userGet, fmt.Sprint(i), 1).id)
			}
			c.ping() // nothing more came
			if got := s.publish(dev001, userGet, "zero", 0); got != sandboxv1.Delivery_DELIVERY_SENT {
				t.Errorf("a message of QoS 0 waits for nothing: %v", got)
			}
			c.wantMessage(userGet, "zero", 0)
			for i := range 5 { // in any order
				c.write(ack(typePuback, ids[50-i]))
				c.wantMessage(userGet, fmt.Sprint(platform.MaxUnacknowledged+i), 1)
			}
			c.ping()
			s.backlog(platform.MaxUnacknowledged, 0)
			c.write(ack(typePuback, 60000)) // of nothing
			c.ping()
		})
	}
}

func TestWhatWaitsInACleanSessionIsLostWithIt(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	c.subscribe(userGet)
	for i := range platform.MaxUnacknowledged + 1 {
		s.publish(dev001, userGet, fmt.Sprint(i), 1)
	}
	s.hangUp(c)
	c = s.login(dev001, deviceSecret)
	c.subscribe(userGet)
	c.ping()
	s.backlog(0, 0)
}

func TestALongQueueIsWorkedOffInOrder(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.hangUp(c)
	const count = 3*platform.MaxUnacknowledged + 7
	for i := range count {
		if got := s.publish(dev001, userGet, fmt.Sprint(i), 1); got != sandboxv1.Delivery_DELIVERY_QUEUED {
			t.Fatalf("message %d: %v", i, got)
		}
	}
	c = s.plain().resume(true)
	for i := range count {
		c.write(ack(typePuback, c.wantMessage(userGet, fmt.Sprint(i), 1).id))
	}
	s.backlog(0, 0)
}

func TestAQueueIsBounded(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.hangUp(c)
	for i := range maxQueued {
		if got := s.publish(dev001, userGet, "", 1); got != sandboxv1.Delivery_DELIVERY_QUEUED {
			t.Fatalf("message %d: %v", i, got)
		}
	}
	publish := func(payload int) codes.Code {
		_, err := s.PublishDownstream(t.Context(), &sandboxv1.PublishDownstreamRequest{
			Device: toDevice(dev001), Topic: userGet, Qos: 1, Payload: make([]byte, payload),
		})
		return status.Code(err)
	}
	if code := publish(0); code != codes.ResourceExhausted {
		t.Errorf("one message too many: %v", code)
	}
	s.login(dev001, deviceSecret).ping()
	c = s.plain().resume(false)
	c.subscribe(userGet)
	s.hangUp(c)
	for i := range maxQueuedBytes / platform.MaxPayloadBytes {
		if code := publish(platform.MaxPayloadBytes); code != codes.OK {
			t.Fatalf("message %d: %v", i, code)
		}
	}
	if code := publish(1); code != codes.ResourceExhausted {
		t.Errorf("one byte too many: %v", code)
	}
}

func TestAMessageIsStoredForSevenDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		publish := func(payload string) {
			if became, err := cloud.deliver(dev001, message{topic: userGet, payload: []byte(payload), qos: 1}); err != nil || became == offline {
				t.Errorf("%s: %v, %v", payload, became, err)
			}
		}
		c := cloud.pipe(t.Context(), t, door{}).resume(false)
		c.subscribe(userGet)
		published := make(chan struct{})
		go func() {
			defer close(published)
			publish("unacknowledged")
		}()
		c.wantMessage(userGet, "unacknowledged", 1)
		<-published
		c.conn.Close()
		synctest.Wait()
		publish("queued")
		time.Sleep(time.Minute)
		publish("a minute younger")
		time.Sleep(storeTime - time.Minute)
		c = cloud.pipe(t.Context(), t, door{}).resume(true)
		c.wantMessage(userGet, "a minute younger", 1)
		c.ping()
	})
}

// What breaks off in the middle of a message comes again as a whole.
func TestAMessageInWhoseSendingTheLinkBrokeComesAgain(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.hangUp(c)
	s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: 4 + 10}})
	c = s.plain().resume(true)
	if got := s.publish(dev001, userGet, "one", 1); got != sandboxv1.Delivery_DELIVERY_QUEUED {
		t.Error(got)
	}
	c.wantPacket(appendPublish(nil, message{topic: userGet, payload: []byte("one"), qos: 1, id: 1})[:10]...)
	c.wantReset()
	c = s.plain().resume(true)
	c.wantAgain(userGet, "one", 1)
}

// Whatever breaks in between, each message arrives, and each for the first time in the order of its publisher.
func TestNothingIsLostWhileTheLinkBreaksAgainAndAgain(t *testing.T) {
	s := start(t)
	c := s.plain().resume(false)
	c.subscribe(userGet)
	const publishers, each = 4, 300
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				r, err := s.PublishDownstream(t.Context(), &sandboxv1.PublishDownstreamRequest{
					Device: toDevice(dev001), Topic: userGet, Payload: fmt.Appendf(nil, "%d %d", p, i), Qos: 1,
				})
				if d := r.GetDelivery(); err != nil || d != sandboxv1.Delivery_DELIVERY_SENT && d != sandboxv1.Delivery_DELIVERY_QUEUED {
					t.Errorf("message %d of %d: %v, %v", i, p, d, err)
				}
			}
		})
	}
	var next [publishers]int
	for arrived := 0; arrived < publishers*each; {
		packet, _, err := readPacket(c.in, nil)
		m, bad := parsePublish(packet)
		if err != nil { // the fault's reset
			c = s.plain()
			c.write(connectPacket(secretLogin(dev001, deviceSecret), lasting))
			c.wantPacket(connack(0, true)...)
			continue
		}
		var p, i int
		if _, err := fmt.Sscan(string(m.payload), &p, &i); err != nil || bad != nil || i > next[p] || i < next[p] && !m.duplicate {
			t.Fatalf("got %+v (%v, %v), and %d is the next of its publisher", m, err, bad, next[p])
		}
		if i == next[p] {
			next[p]++
			arrived++
			if arrived%50 == 0 {
				s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: uint64(1000 + 37*arrived)}})
				c.conn.Close()
				continue
			}
		}
		if m.id%5 != 0 || m.duplicate { // the others are acknowledged when they come again
			_, _ = c.conn.Write(ack(typePuback, m.id)) // reading tells of a broken connection, too
		}
	}
	publishing.Wait()
}
