package outbox

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// FuzzStoredMessage reads bytes as the database might hold them: what is taken for a message is one that can be sent and stored.
func FuzzStoredMessage(f *testing.F) {
	for _, m := range []message.Outgoing{
		{Topic: "/a1/d/user/update", Payload: []byte("x"), QoS: 1, Stored: true},
		{Topic: "/a1/d/user/update", QoS: 0, Stored: true, Priority: message.MaxPriority, Key: "k", TTL: time.Minute},
	} {
		_, record, err := newEntry(7, m, time.Unix(1795507200, 5))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record)
		f.Add(record[:len(record)/2])
	}
	for _, header := range []string{`null`, `{}`, `[]`, `{"qos":2}`, `{"priority":255}`, `{"taken":"9999-12-31T23:59:59-23:59","expires":"0000-01-01T00:00:00Z"}`, `{"TOPIC":"\ud800"}`} {
		f.Add(append([]byte{byte(len(header))}, header+"payload"...))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := readEntry(7, record)
		m, err2 := decode(record)
		if (err == nil) != (err2 == nil) || (e == nil) != (err != nil) {
			t.Fatalf("% x is read as %+v (%v) and %+v (%v)", record, e, err, m, err2)
		}
		if err != nil {
			return
		}
		if e.sequence != 7 || e.state != waiting || e.size != len(record) || e.qos > 1 || e.qos != m.QoS || e.priority != m.Priority || m.Priority > message.MaxPriority ||
			e.key != m.Key || !m.Stored || e.digest != digestOf(m.Topic, m.Payload, m.QoS) {
			t.Fatalf("% x is read as %+v and %+v", record, e, m)
		}
		again, written, err := newEntry(7, m, e.taken)
		if err != nil {
			t.Fatalf("%+v cannot be stored again: %v", m, err)
		}
		back, err := decode(written)
		if err != nil || again.digest != e.digest || back.Topic != m.Topic || !bytes.Equal(back.Payload, m.Payload) || back.Key != m.Key {
			t.Fatalf("%+v became %+v, %v", m, back, err)
		}
	})
}

// FuzzEnding: how a message has ended is read as one of the ways there are, or as none.
func FuzzEnding(f *testing.F) {
	for _, seed := range []string{`{"key":"k","digest":"00","outcome":1,"at":"2026-11-24T08:00:00Z"}`, `{}`, `null`, `{"outcome":99,"full":true}`, `{"at":"x"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := message.Encode(json.RawMessage(text), nil)
		if err != nil {
			return // no JSON
		}
		e := &ending{}
		if _, err := message.Decode(record, e); err != nil {
			return
		}
		again, err := message.Encode(e, nil)
		if err != nil {
			t.Fatalf("%+v cannot be stored: %v", e, err)
		}
		back := &ending{}
		if _, err := message.Decode(again, back); err != nil || back.Key != e.Key || back.Digest != e.Digest || back.Outcome != e.Outcome || back.Full != e.Full || !back.At.Equal(e.At) {
			t.Fatalf("%+v became %+v, %v", e, back, err)
		}
		if err := e.err(); err != nil && e.Outcome != message.Expired && e.Outcome != message.Dropped {
			t.Fatalf("%+v has ended with %v", e, err)
		}
	})
}
