package event

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzDecode reads bytes as a journal might hold them: what is read can be written, and is the same when it is read again.
func FuzzDecode(f *testing.F) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 123456789, time.UTC)
	for _, body := range []Body{
		Attempting{3, "h:8883"},
		WentOnline{true, at, "h:8883", 1},
		Refused{4, "m", "a", true, at},
		AttemptFailed{CauseDNS, "no such host", at, 2},
		Lost{CauseClosedByServer, "closed", at, time.Minute},
		Disconnected{CauseRequested},
		Registered{Method: "PRE_REGISTERED"},
		RegistrationFailed{"HTTPS_LEGACY", CauseNetwork, "d", 6288, true},
		SubscriptionRefused{"/a/b/#"},
		TakeoverSuspected{5, at},
		MessagesDropped{7, DropSlowReader, "/a/b/c"},
		Warning{WarnPlainTCP, "d"},
		Forgotten{},
	} {
		data, err := encode(Event{Time: at, Device: dev("d1"), Body: body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{
		``, `{}`, `null`, `{"kind":5}`, `{"kind":5,"body":null}`, `{"kind":99,"body":{}}`, `{"kind":14,"body":{}}`, `{"kind":13,"body":[]}`,
		`{"time":"0000-01-01T00:00:00+23:59","kind":1,"body":{}}`, `{"time":"9999-12-31T23:59:59.999999999-23:59","kind":2,"body":{"connack_time":"0001-01-01T00:00:00Z"}}`,
		`{"kind":3,"body":{"code":256}}`, `{"kind":4,"body":{"cause":-1,"detail":"` + "\xff" + `"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decode(7, data)
		if err != nil {
			if !reflect.DeepEqual(e, Event{}) || !strings.Contains(err.Error(), "event 7") {
				t.Fatalf("%q: %+v, %v", data, e, err)
			}
			return
		}
		if e.Sequence != 7 || e.Body == nil || decoders[e.Body.Kind()] == nil {
			t.Fatalf("%q was read as %+v", data, e)
		}
		again, err := encode(e)
		if err != nil {
			t.Fatalf("%q was read as %+v, which cannot be written: %v", data, e, err)
		}
		back, err := decode(7, again)
		if err != nil {
			t.Fatalf("%q was written as %s, which cannot be read: %v", data, again, err)
		}
		if third, err := encode(back); err != nil || !bytes.Equal(third, again) || !back.Time.Equal(e.Time) || back.Device != e.Device {
			t.Fatalf("%s became %s, %v", again, third, err)
		}
	})
}

// FuzzEncode: whatever words an event has, the journal gives back the very same.
func FuzzEncode(f *testing.F) {
	f.Add("the server closed the connection", "/a1B2c3D4e5F/d1/user/get", int64(1795507200), int64(60), 18)
	f.Add("\u2028<&>\x00\x7f\"\\", "\U0001F600", int64(0), int64(-1), -3)
	f.Add("\xff", "a\xc0\x80", int64(253402300799), int64(1)<<62, 0)
	f.Fuzz(func(t *testing.T, detail, topic string, seconds, held int64, cause int) {
		at := time.Unix(seconds, 0).UTC()
		if at.Year() < 1 || at.Year() > 9999 {
			return // no clock shows it
		}
		detail, topic = strings.ToValidUTF8(detail, "?"), strings.ToValidUTF8(topic, "?")
		for _, body := range []Body{
			Lost{Cause(cause), detail, at, time.Duration(held)},
			MessagesDropped{uint64(held), DropUnclaimed, topic},
			SubscriptionRefused{topic},
			Refused{byte(cause), detail, topic, held > 0, at},
			RegistrationFailed{topic, Cause(cause), detail, cause, held < 0},
		} {
			want := Event{Sequence: 1, Time: at, Device: dev("d1"), Body: body}
			data, err := encode(want)
			if err != nil {
				t.Fatalf("%+v: %v", want, err)
			}
			if got, err := decode(1, data); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\ngot  %+v, %v\nwant %+v", data, got, err, want)
			}
		}
	})
}
