package credential

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// FuzzReadingAnyFile puts bytes where a credential and an intent are kept. The store must open, answer by one of its errors, never tell
// what was in the file, lose nothing of it, and take a new credential in its place.
func FuzzReadingAnyFile(f *testing.F) {
	const hidden = "hunter2"
	id := dev("d")
	for _, c := range []Credential{secret(hidden), cred(DeviceToken, "id", "", "^1^2"), cred(MQTT, "id", "dn&pk", hidden)} {
		f.Add(encoded(f, id, c), true)
	}
	f.Add(encoded(f, dev("other"), secret(hidden)), true)
	f.Add([]byte(`{"version":2,"secret":"hunter2"}`), true)
	f.Add([]byte(`{"version":1,"secret":hunter2}`), true)
	f.Add([]byte(`{"version":1,"kind":"hunter2","secret":["hunter2"]}`), false)
	f.Add([]byte("age-encryption.org/v1\n-> X25519 hunter2\n"), false)
	f.Add([]byte(nil), false)
	keyFile := newKey(f)
	f.Fuzz(func(t *testing.T, data []byte, isPlain bool) {
		dir, key, end := stateDir(t), "", plain
		if !isPlain {
			key, end = keyFile, sealed
		}
		write(t, dir, fileOf(id, current, end).name, data, 0o600)
		write(t, dir, fileOf(id, intent, plain).name, data, 0o600)
		s, err := Open(dir, Options{KeyFile: key})
		if errors.Is(err, ErrWrongKey) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Get(id)
		_, damaged := errors.AsType[*DamagedError](err)
		_, unknown := errors.AsType[*UnknownVersionError](err)
		switch {
		case err == nil:
			if c.Validate() != nil {
				t.Fatalf("%q was read as %+v", data, c)
			}
		case strings.Contains(err.Error(), hidden):
			t.Fatalf("%v tells what was in the file", err)
		case !damaged && !unknown && !errors.Is(err, ErrNotFound) && !strings.Contains(err.Error(), "another device"):
			t.Fatalf("%q: %v", data, err)
		}
		if all, err := s.Interrupted(); err != nil || len(all) != 1 {
			t.Fatalf("%q: %v, %v", data, all, err)
		}
		if err := errors.Join(s.End(id), s.Put(id, secret("new"))); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Get(id); err != nil || !c.Same(secret("new")) {
			t.Fatalf("then: %v, %v", c, err)
		}
		if err != nil && len(names(t, dir)) != 2 {
			t.Fatalf("%q: what could not be read is not there any more: %q", data, names(t, dir))
		}
	})
}

// FuzzNames: a file's name is read as that of one device's file only if it is the name that this file would get.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"a1B2c3D4e5F+d.json", "a1B2c3D4e5F+d.json.age", "a1B2c3D4e5F+d+candidate.json", "a+b+intent.json", "a+b+c.json", "a+..json", "+b.json", "a+b.json.json", "../a+b.json",
		".a+b.json", "a+b.json.corrupt-1", "a+.json.age.json", "a+b+.json",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := parseName(name)
		if !ok {
			return
		}
		if e.name != name || e.id.Validate() != nil || filepath.Base(name) != name || name[0] == '.' {
			t.Fatalf("%q was read as %+v", name, e)
		}
		for _, which := range []slot{current, candidate, intent} {
			for _, end := range []string{plain, sealed} {
				other := fileOf(e.id, which, end)
				if back, ok := parseName(other.name); !ok || back != other || (other.name == name) != (which == e.slot && end == e.end) {
					t.Fatalf("%+v was read as %+v", other, back)
				}
			}
		}
	})
}

// FuzzIntent: what is noted about a registration is read again as it was.
func FuzzIntent(f *testing.F) {
	f.Add("pre_registered", "a1.iot-as-mqtt.cn-shanghai.aliyuncs.com:8883", int64(1795507200))
	f.Add("", "\u2028&<\x00", int64(0))
	id := device.ID{ProductKey: "a1", DeviceName: "d"}
	f.Fuzz(func(t *testing.T, method, endpoint string, seconds int64) {
		want := Intent{strings.ToValidUTF8(method, ""), strings.ToValidUTF8(endpoint, ""), time.Unix(seconds, 0).UTC()}
		if year := want.StartedAt.Year(); year < 0 || year > 9999 {
			return
		}
		s := open(t, stateDir(t), "")
		if err := s.Begin(id, want); err != nil {
			t.Fatal(err)
		}
		all, err := s.Interrupted()
		if err != nil || !reflect.DeepEqual(all, map[device.ID]Intent{id: want}) {
			t.Fatalf("%+v became %+v, %v", want, all, err)
		}
	})
}
