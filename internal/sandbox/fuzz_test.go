package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// FuzzStream: packets that follow one another are read one after another, however few bytes come at once, and no packet takes
// anything of the next.
func FuzzStream(f *testing.F) {
	f.Add(connectPacket(secretLogin(dev001, deviceSecret)), subscribePacket(1, "a/#", "b"))
	f.Add(appendPublish(nil, message{topic: "a/b", payload: []byte("x"), qos: 1, id: 7}), ack(typePuback, 3))
	f.Add(ack(typeSuback, 1, 1, 0x80), []byte{typePingreq << 4, 0})
	f.Add([]byte{0x30, 0x80}, []byte{0x80, 0x80, 0x01})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		read := func(r *bufio.Reader) (all []byte, err error) {
			var buf []byte
			for {
				var p packet
				if p, buf, err = readPacket(r, buf); err != nil {
					return all, err
				}
				if p.cut {
					t.Skip() // only its beginning is kept
				}
				all = append(appendLength(append(all, p.kind<<4|p.flags), len(p.body)), p.body...)
			}
		}
		stream := append(bytes.Clone(first), second...)
		atOnce, err := read(bufio.NewReader(bytes.NewReader(stream)))
		slowly, slowErr := read(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(stream))))
		if !bytes.Equal(atOnce, slowly) || err.Error() != slowErr.Error() {
			t.Fatalf("% x is read as % x (%v), and byte by byte as % x (%v)", stream, atOnce, err, slowly, slowErr)
		}
		again, err := read(bufio.NewReader(bytes.NewReader(atOnce)))
		if !errors.Is(err, io.EOF) || !bytes.Equal(again, atOnce) {
			t.Fatalf("% x is written as % x, which is read as % x (%v)", stream, atOnce, again, err)
		}
	})
}

// FuzzPacketsAsOthersReadThem compares with the parser of another MQTT library: what we take means the same to it.
func FuzzPacketsAsOthersReadThem(f *testing.F) {
	f.Add(connectPacket(secretLogin(dev001, deviceSecret)))
	f.Add(connectPacket(secretLogin(dev001, ""), func(o *connectOptions) { o.will, o.protocol, o.level = true, "MQIsdp", 3 }))
	f.Add(appendPublish(nil, message{topic: "a/b", payload: []byte("x"), qos: 1, id: 7}))
	f.Add(appendPublish(nil, message{topic: "温度"}))
	f.Add(subscribePacket(1, "a/#", "b"))
	f.Add(unsubscribePacket(65535, "a", ""))
	f.Add(ack(typePuback, 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := readPacket(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil || p.cut {
			return
		}
		theirs := func() packets.ControlPacket {
			other, err := packets.ReadPacket(bytes.NewReader(data))
			if err != nil {
				t.Fatalf("% x is taken, and the other says %v", data, err)
			}
			return other
		}
		switch p.kind {
		case typeConnect:
			c, err := parseConnect(p)
			if err != nil || !c.supported() {
				return
			}
			o := theirs().(*packets.ConnectPacket)
			if c.clientID != o.ClientIdentifier || c.username != o.Username || c.password.Reveal() != string(o.Password) || c.cleanSession != o.CleanSession ||
				c.will != o.WillFlag || c.keepAlive.Seconds() != float64(o.Keepalive) || c.protocol != o.ProtocolName || c.level != o.ProtocolVersion {
				t.Fatalf("% x is %+v and %+v", data, c, o)
			}
			if !utf8.ValidString(c.clientID+c.username) || strings.Contains(c.clientID+c.username, "\x00") {
				t.Fatalf("%+v holds what is no text", c)
			}
		case typePublish:
			m, err := parsePublish(p)
			if err != nil {
				return
			}
			o := theirs().(*packets.PublishPacket)
			if m.topic != o.TopicName || !bytes.Equal(m.payload, o.Payload) || m.qos != o.Qos || m.id != o.MessageID || m.duplicate != o.Dup {
				t.Fatalf("% x is %+v and %+v", data, m, o)
			}
		case typeSubscribe:
			all, err := parseFilters(p)
			if err != nil {
				return
			}
			o := theirs().(*packets.SubscribePacket)
			if all.id != o.MessageID || strings.Join(all.names, "\x00") != strings.Join(o.Topics, "\x00") || !bytes.Equal(all.qos, o.Qoss) {
				t.Fatalf("% x is %+v and %+v", data, all, o)
			}
		case typeUnsubscribe:
			all, err := parseFilters(p)
			if err != nil {
				return
			}
			if slices.Contains(all.names, "") {
				return // where the other one stops reading
			}
			if o := theirs().(*packets.UnsubscribePacket); all.id != o.MessageID || strings.Join(all.names, "\x00") != strings.Join(o.Topics, "\x00") {
				t.Fatalf("% x is %+v and %+v", data, all, o)
			}
		case typePuback:
			if id, err := parseAck(p); err == nil && theirs().(*packets.PubackPacket).MessageID != id {
				t.Fatalf("% x acknowledges %d", data, id)
			}
		}
	})
}

// FuzzFixture: what is wrong in a fixture is told with the file's name and without any secret; what is taken starts a platform.
func FuzzFixture(f *testing.F) {
	const hidden = "hunter2"
	for _, seed := range []string{
		documented, "", "# nothing\n", "products: [{product_key: 123, product_secret: 0123}]", "products:\n  - product_key: a\n    product_secret: hunter2 x\n",
		"products:\n  - product_key: [hunter2]\n", "products: &a [*a]\n", "products: {product_secret: hunter2}\n", "a: 1\n---\n", "\x00", "product_secret: *hunter2\n",
		"products: [{product_key: a, devices: [{device_name: d, disabled: hunter2}]}]", "products:\n  - product_secret: hunter2\n", "products: [{*hunter2 : 1}]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFixture("f.yaml", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), hidden) && !quotesAName(err.Error()) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if _, err := newCloud(Options{Fixture: got, ConnectsPerMinute: -1}); err != nil {
			t.Fatalf("%q was taken, and no platform starts with it: %v", text, err)
		}
	})
}

// quotesAName reports whether an error quotes a key, or the name of a product or device: these are no secrets.
func quotesAName(text string) bool {
	for _, part := range []string{"unknown key ", "the key ", "product_key ", "device_name ", "the product ", "the device ", "of the product "} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
