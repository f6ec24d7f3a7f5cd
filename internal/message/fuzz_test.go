package message

import (
	"bytes"
	"testing"
)

// FuzzDecode: a record that can be read, and written again, says the same; what cannot be read gives no payload.
func FuzzDecode(f *testing.F) {
	type header struct {
		Topic string `json:"topic"`
		QoS   byte   `json:"qos"`
	}
	record, err := Encode(header{"/a/b", 1}, []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add(record[:len(record)-8])
	f.Add([]byte{})
	f.Add([]byte{4, 'n', 'u', 'l', 'l', 'x'})
	f.Add([]byte{0x82, 0x00, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, '{', '}'})
	f.Add([]byte{9, '{', '"', 'q', 'o', 's', '"', ':', '9', '}', '9'})
	f.Fuzz(func(t *testing.T, record []byte) {
		var h header
		payload, err := Decode(record, &h)
		if err != nil {
			if payload != nil {
				t.Fatalf("% x gives a payload and %v", record, err)
			}
			return
		}
		if !bytes.HasSuffix(record, payload) {
			t.Fatalf("% x holds the payload % x", record, payload)
		}
		again, err := Encode(h, payload)
		if err != nil {
			t.Fatal(err)
		}
		var back header
		if same, err := Decode(again, &back); err != nil || back != h || !bytes.Equal(same, payload) {
			t.Fatalf("%+v % x became %+v % x, %v", h, payload, back, same, err)
		}
	})
}
