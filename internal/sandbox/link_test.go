package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// newTestCloud is a platform without sockets, for tests whose time is virtual.
func newTestCloud(t *testing.T) *cloud {
	t.Helper()
	c, err := newCloud(Options{
		Fixture: fixture(), ConnectsPerMinute: DefaultConnectsPerMinute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pipe connects a device to it. The context is the sandbox's life.
func (c *cloud) pipe(ctx context.Context, t *testing.T, door door) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(ctx, theirs, door)
	}()
	t.Cleanup(func() {
		ours.Close()
		<-ended // it still logs, for which the test must not be over
	})
	d := newClient(t, ours)
	_ = ours.SetDeadline(time.Time{})
	return d
}

func TestKeepAliveIsHalfAgainAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCloud(t).pipe(t.Context(), t, door{})
		if code := c.connect(secretLogin(dev001, deviceSecret), keepAlive(30)); code != 0 {
			t.Fatalf("CONNACK %d", code)
		}
		for _, packet := range [][]byte{
			pingreq, appendPublish(nil, message{topic: topicOf(dev001, "user/update")}), ack(typePuback, 1),
		} {
			time.Sleep(44 * time.Second)
			c.write(packet)
			if packet[0] == pingreq[0] {
				c.wantPacket(pingresp...)
			}
		}
		began := time.Now()
		c.wantEOF()
		if after := time.Since(began); after != 45*time.Second {
			t.Errorf("a silent device was closed after %v", after)
		}
	})
}

func TestADeviceMustSayConnectInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, begin := range []string{"", "\x10", "\x10\x40\x00\x04MQ"} {
			c := newTestCloud(t).pipe(t.Context(), t, door{})
			began := time.Now()
			if begin != "" {
				c.write([]byte(begin))
			}
			c.wantEOF()
			if after := time.Since(began); after != connectWindow {
				t.Errorf("%q: closed after %v", begin, after)
			}
		}
	})
}

func TestADeviceLogsInFiveTimesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		connect := func() byte {
			return cloud.pipe(t.Context(), t, door{}).connect(secretLogin(dev001, deviceSecret))
		}
		for i := range DefaultConnectsPerMinute {
			if code := connect(); code != 0 {
				t.Fatalf("login %d: CONNACK %d", i+1, code)
			}
			time.Sleep(10 * time.Second)
		}
		// 50 seconds after the first: the limit is reached, and stays so however often the device tries.
		for range 3 {
			if code := connect(); code != 3 {
				t.Errorf("one more within the minute: CONNACK %d", code)
			}
		}
		time.Sleep(10 * time.Second)
		if code := connect(); code != 0 {
			t.Errorf("a minute after the first: CONNACK %d", code)
		}
		if code := connect(); code != 3 {
			t.Errorf("the second is less than a minute ago: CONNACK %d", code)
		}
	})
}

func TestTheNewestLoginWins(t *testing.T) {
	s := start(t)
	first := s.login(dev001, deviceSecret)
	otherID := secretLogin(dev001, deviceSecret)
	base := "another-client"
	otherID.clientID = base + "|securemode=3,signmethod=hmacsha256|"
	otherID.password = platform.HMACSHA256.Sign(device.NewSecret(deviceSecret), platform.LoginContent(base, dev001, ""))
	second := s.secure()
	if code := second.connect(otherID); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	first.wantEOF()
	second.ping()
	if d := s.status(dev001); !d.GetOnline() || d.GetConnectionId() != 2 || d.GetLogins() != 2 {
		t.Errorf("the device is %v", d)
	}
	second.conn.Close()
	eventually(t, "offline", func() bool { return !s.status(dev001).GetOnline() })
}

func TestAConnectionIsClosedInAnOrderlyWayWhateverTheDeviceIsSending(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	// What the sandbox has not read when it closes must not turn the end into a reset.
	flood := appendPublish(nil, message{topic: topicOf(dev001, "user/update"), payload: make([]byte, 1000)})
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for {
			if _, err := c.conn.Write(flood); err != nil {
				return
			}
		}
	}()
	eventually(t, "a message came", func() bool { return len(s.messages(dev001)) > 0 })
	if _, err := s.KickDevice(t.Context(), &sandboxv1.KickDeviceRequest{Device: toDevice(dev001)}); err != nil {
		t.Fatal(err)
	}
	c.wantEOF()
	c.conn.Close()
	<-stop
}

// broadcast sends a message that every device gets, and hands over what became of it.
func (c *cloud) broadcast(ctx context.Context) <-chan sandboxv1.Delivery {
	given := make(chan sandboxv1.Delivery, 1)
	go func() {
		r, _ := console{cloud: c}.PublishDownstream(ctx, &sandboxv1.PublishDownstreamRequest{
			Device: toDevice(dev001), Topic: "/sys/a1B2c3D4e5F/dev-001/broadcast/request/1",
		})
		given <- r.GetDelivery()
	}()
	return given
}

func TestADeviceThatReadsNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		if code := cloud.pipe(t.Context(), t, door{}).connect(secretLogin(dev001, deviceSecret)); code != 0 {
			t.Fatalf("CONNACK %d", code)
		}
		synctest.Wait() // the link reads, and so holds no lock that virtual time would wait for
		began := time.Now()
		if got := <-cloud.broadcast(t.Context()); got != sandboxv1.Delivery_DELIVERY_OFFLINE { // a pipe holds nothing back
			t.Error(got)
		}
		if after := time.Since(began); after != writeTimeout {
			t.Errorf("it took %v", after)
		}
		synctest.Wait()
		if l, err := cloud.linkOf(dev001); l != nil || err != nil {
			t.Errorf("the device is still online (%v)", err)
		}
	})
}

func TestTheSandboxStopsAlthoughADeviceReadsNothing(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cloud := newTestCloud(t)
	if code := cloud.pipe(ctx, t, door{}).connect(secretLogin(dev001, deviceSecret)); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	l, _ := cloud.linkOf(dev001)
	given := cloud.broadcast(ctx)
	eventually(t, "somebody is stuck in writing", func() bool {
		free := l.writing.TryLock()
		if free {
			l.writing.Unlock()
		}
		return !free
	})
	stop()
	if got := <-given; got != sandboxv1.Delivery_DELIVERY_OFFLINE {
		t.Error(got)
	}
	eventually(t, "offline", func() bool { l, _ := cloud.linkOf(dev001); return l == nil })
}

func TestSystemTopicsComeWithoutASubscription(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret) // with _ss=1
	const set = "/sys/a1B2c3D4e5F/dev-001/thing/service/property/set"
	if got := s.publish(dev001, set, "1", 0); got != sandboxv1.Delivery_DELIVERY_SENT {
		t.Error(got)
	}
	c.wantMessage(set, "1", 0)
	if got := s.publish(dev001, topicOf(dev001, "user/get"), "2", 0); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Error(got)
	}
	if codes := c.subscribe(set, "/sys/a1B2c3D4e5F/dev-001/#"); !slices.Equal(codes, []byte{1, 1}) {
		t.Error(codes)
	}
	s.publish(dev001, set, "3", 1)
	c.wantMessage(set, "3", 1)
	c.ping() // it did not come three times

	c.write(unsubscribePacket(8, set, "/sys/a1B2c3D4e5F/dev-001/#"))
	c.wantPacket(ack(typeUnsuback, 8)...)
	if got := s.publish(dev001, set, "4", 0); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Errorf("after UNSUBSCRIBE: %v", got)
	}
	c.subscribe(set)
	if got := s.publish(dev001, set, "5", 0); got != sandboxv1.Delivery_DELIVERY_SENT {
		t.Error(got)
	}
	c.wantMessage(set, "5", 0)
}

func TestWithoutAutomaticSubscriptionsADeviceSubscribes(t *testing.T) {
	s := start(t)
	signature := platform.HMACMD5.Sign(device.NewSecret(deviceSecret), platform.LoginContent("c", dev001, ""))
	c := s.plain()
	if code := c.connect(credentials{"c|securemode=3|", "dev-001&a1B2c3D4e5F", signature}); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	const set = "/sys/a1B2c3D4e5F/dev-001/thing/service/property/set"
	if got := s.publish(dev001, set, "1", 0); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Error(got)
	}
	const broadcast = "/sys/a1B2c3D4e5F/dev-001/broadcast/request/1"
	if got := s.publish(dev001, broadcast, "2", 0); got != sandboxv1.Delivery_DELIVERY_SENT {
		t.Errorf("a broadcast is always pushed: %v", got)
	}
	c.wantMessage(broadcast, "2", 0)
	c.subscribe("/sys/a1B2c3D4e5F/dev-001/thing/#")
	s.publish(dev001, set, "3", 1)
	m := c.wantMessage(set, "3", 1)
	c.write(ack(typePuback, m.id))
	c.write(unsubscribePacket(9, "/sys/a1B2c3D4e5F/dev-001/thing/#"))
	c.wantPacket(ack(typeUnsuback, 9)...)
	if got := s.publish(dev001, set, "4", 0); got != sandboxv1.Delivery_DELIVERY_NOT_SUBSCRIBED {
		t.Error(got)
	}
}

func TestSubscriptionsHaveLimits(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	filters := func(from, count int) []string {
		var all []string
		for i := range count {
			all = append(all, topicOf(dev001, fmt.Sprintf("user/%d", from+i)))
		}
		return all
	}
	codes := c.subscribe(filters(0, 10)...)
	if want := []byte{1, 1, 1, 1, 1, 1, 1, 1, 0x80, 0x80}; !slices.Equal(codes, want) {
		t.Errorf("ten filters at once: % x", codes)
	}
	for from := 8; from < 96; from += 8 {
		if slices.Contains(c.subscribe(filters(from, 8)...), subscriptionRefused) {
			t.Fatalf("the filters from %d on are refused", from)
		}
	}
	if codes := c.subscribe(filters(96, 8)...); !slices.Equal(codes, []byte{1, 1, 1, 1, 0x80, 0x80, 0x80, 0x80}) {
		t.Errorf("the last of a hundred and four: % x", codes)
	}
	if codes := c.subscribe(filters(0, 1)...); codes[0] != 1 {
		t.Errorf("a filter that was subscribed to already: % x", codes)
	}
	for _, filter := range []string{
		"#", "/a1B2c3D4e5F/dev-002/user/get", "/a1B2c3D4e5F/+/user/get", "$share/g/a1B2c3D4e5F/dev-001/user/get", "",
		topicOf(dev001, "user/#/x"), topicOf(dev001, strings.Repeat("x", platform.MaxTopicBytes)),
	} {
		if codes := c.subscribe(filter); codes[0] != subscriptionRefused {
			t.Errorf("%q: % x", filter, codes)
		}
	}
}

func TestADeviceGetsThePublishersQoS(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	topic := topicOf(dev001, "user/get")
	body := append(appendText([]byte{0, 1}, topic), 0) // it asks for QoS 0
	c.write(append(appendLength([]byte{typeSubscribe<<4 | 2}, len(body)), body...))
	c.wantPacket(ack(typeSuback, 1, 0)...)
	s.publish(dev001, topic, "zero", 0)
	s.publish(dev001, topic, "one", 1)
	s.publish(dev001, topic, "two", 1)
	c.wantMessage(topic, "zero", 0)
	one, two := c.wantMessage(topic, "one", 1), c.wantMessage(topic, "two", 1)
	if one.id == 0 || one.id == two.id {
		t.Errorf("the identifiers are %d and %d", one.id, two.id)
	}
}

func TestKeepsWhatADevicePublishes(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	topic := topicOf(dev001, "user/update")
	c.write(
		appendPublish(nil, message{topic: topic, payload: []byte("zero")}),
		appendPublish(nil, message{topic: topic + "?_rid=1700000000000123", payload: []byte("one"), qos: 1, id: 5}),
	)
	c.wantPacket(ack(typePuback, 5)...)
	again := appendPublish(nil, message{topic: topic, payload: []byte("one"), qos: 1, id: 5})
	again[0] |= 8 // DUP
	c.write(again)
	c.wantPacket(ack(typePuback, 5)...)

	got := s.messages(dev001)
	if len(got) != 3 {
		t.Fatalf("%d messages: %v", len(got), got)
	}
	for i, want := range []struct {
		payload string
		qos, id uint32
		dup     bool
	}{{"zero", 0, 0, false}, {"one", 1, 5, false}, {"one", 1, 5, true}} {
		m := got[i]
		if m.GetTopic() != topic || string(m.GetPayload()) != want.payload || m.GetQos() != want.qos || m.GetMessageId() != want.id ||
			m.GetDuplicate() != want.dup || m.GetConnectionId() != 1 || m.GetReceiveTime() == nil {
			t.Errorf("message %d is %v", i, m)
		}
	}
	newest, err := s.ListMessages(t.Context(), &sandboxv1.ListMessagesRequest{Device: toDevice(dev001), Limit: 1})
	if err != nil || len(newest.GetMessages()) != 1 || !newest.GetMessages()[0].GetDuplicate() {
		t.Errorf("the newest is %v, %v", newest, err)
	}
}

func TestKeepsTheNewestThousand(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	for i := range 2*DefaultKeepMessages + 7 {
		c.write(appendPublish(nil, message{topic: topicOf(dev001, "user/update"), payload: fmt.Append(nil, i)}))
	}
	c.ping() // they have all arrived
	got := s.messages(dev001)
	if len(got) != DefaultKeepMessages || string(got[0].GetPayload()) != "1007" || string(got[DefaultKeepMessages-1].GetPayload()) != "2006" {
		t.Errorf("%d messages from %s to %s", len(got), got[0].GetPayload(), got[len(got)-1].GetPayload())
	}
}

// forbidden are messages that the platform does not take.
func forbidden() map[string]message {
	return map[string]message{
		"on another device's topic": {topic: topicOf(dev002, "user/update"), qos: 1, id: 3},
		"on no platform topic":      {topic: "home/light", qos: 1, id: 3},
		"of a byte too much":        {topic: topicOf(dev001, "user/update"), payload: make([]byte, platform.MaxPayloadBytes+1), qos: 1, id: 3},
		"of a megabyte":             {topic: topicOf(dev001, "user/update"), payload: make([]byte, 1<<20), qos: 1, id: 3},
	}
}

func TestAForbiddenMessageIsAcknowledgedAndDropped(t *testing.T) {
	for name, m := range forbidden() {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.login(dev001, deviceSecret)
			c.write(appendPublish(nil, m))
			c.wantPacket(ack(typePuback, 3)...)
			c.ping()
			if n := len(s.messages(dev001)) + len(s.messages(dev002)); n > 0 {
				t.Errorf("%d messages were kept", n)
			}
		})
	}
}

func TestAForbiddenMessageEndsTheLinkOfAStrictSandbox(t *testing.T) {
	for name, m := range forbidden() {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(o *Options) { o.Strict = true })
			c := s.login(dev001, deviceSecret)
			c.write(appendPublish(nil, m))
			c.wantEOF()
		})
	}
}

func TestTheGreatestMessagePasses(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	payload := strings.Repeat("x", platform.MaxPayloadBytes)
	topic := topicOf(dev001, "user/update")
	c.write(appendPublish(nil, message{topic: topic, payload: []byte(payload), qos: 1, id: 1}))
	c.wantPacket(ack(typePuback, 1)...)
	if got := s.messages(dev001); len(got) != 1 || string(got[0].GetPayload()) != payload {
		t.Error("it was not kept")
	}
	c.subscribe(topic)
	s.publish(dev001, topic, payload, 1)
	c.wantMessage(topic, payload, 1)
}

func TestBreachesOfMQTTEndTheLink(t *testing.T) {
	topic := topicOf(dev001, "user/update")
	publish := func(flags byte, m message) []byte {
		p := appendPublish(nil, m)
		p[0] |= flags
		return p
	}
	for name, packet := range map[string][]byte{
		"QoS 2":                    publish(4, message{topic: topic, payload: []byte{0, 1}}),
		"QoS 3":                    publish(6, message{topic: topic, payload: []byte{0, 1}}),
		"retained":                 publish(1, message{topic: topic}),
		"a wildcard":               publish(0, message{topic: topicOf(dev001, "user/+")}),
		"no topic":                 publish(0, message{}),
		"identifier 0":             publish(0, message{topic: topic, qos: 1}),
		"a topic that is no UTF-8": publish(0, message{topic: topic + "\xff"}),
		"a topic with a NUL":       publish(0, message{topic: topic + "\x00"}),
		"a PUBLISH cut short":      {0x30, 3, 0, 9, 'x'},
		"an endless length":        {0x30, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a second CONNECT":         connectPacket(secretLogin(dev001, deviceSecret)),
		"a CONNACK":                connack(0, false),
		"PUBREL":                   {0x62, 2, 0, 1},
		"type 0":                   {0, 0},
		"type 15":                  {0xf0, 0},
		"a PINGREQ with flags":     {0xc1, 0},
		"a PINGREQ with a body":    {0xc0, 1, 0},
		"a long PUBACK":            {0x40, 3, 0, 1, 0},
		"a SUBSCRIBE with no flag": {0x80, 2, 0, 1},
		"a SUBSCRIBE of nothing":   {0x82, 2, 0, 1},
		"a SUBSCRIBE for QoS 3":    {0x82, 6, 0, 1, 0, 1, 'x', 3},
		"a SUBSCRIBE cut short":    {0x82, 3, 0, 1, 0},
		"an UNSUBSCRIBE of 0":      {0xa2, 5, 0, 0, 0, 1, 'x'},
		"255 MiB of SUBSCRIBE":     {0x82, 0xff, 0xff, 0xff, 0x7f},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.login(dev001, deviceSecret)
			c.write(packet)
			c.wantEOF()
			s.login(dev001, deviceSecret).ping() // and nothing else suffered
			if n := len(s.messages(dev001)); n > 0 {
				t.Errorf("%d messages were kept", n)
			}
		})
	}
}

func TestADisconnectIsAnsweredByTheEnd(t *testing.T) {
	for name, dial := range map[string]func(sandbox) *client{"plain": sandbox.plain, "TLS": sandbox.secure} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := dial(s)
			c.connect(secretLogin(dev001, deviceSecret))
			c.write(disconnect)
			c.wantEOF()
			eventually(t, "offline", func() bool { return !s.status(dev001).GetOnline() })
		})
	}
}
