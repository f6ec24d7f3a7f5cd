package credential

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const theFile = "a1B2c3D4e5F+d.json"

func TestADamagedFileIsSetAsideWhole(t *testing.T) {
	whole := encoded(t, dev("d"), secret("hunter2"))
	replaced := func(from, to string) []byte {
		data := bytes.Replace(whole, []byte(from), []byte(to), 1)
		if bytes.Equal(data, whole) {
			t.Fatalf("%q is not in %s", from, whole)
		}
		return data
	}
	for _, row := range []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"zeros", make([]byte, 500)},
		{"cut short", whole[:len(whole)-3]},
		{"cut in half", whole[:len(whole)/2]},
		{"two records", append(bytes.Clone(whole), whole...)},
		{"a changed secret", replaced("hunter2", "hunter3")},
		{"a secret that is a number", replaced(`"hunter2"`, `7123456`)},
		{"a wrong time", replaced(`"stored_at": "0`, `"stored_at": "hunter2`)},
		{"no version", replaced(`"version": 1`, `"versio_": 1`)},
		{"a version before the first", replaced(`"version": 1`, `"version": 0`)},
		{"a version that is a text", replaced(`"version": 1`, `"version": "hunter2"`)},
		{"an unknown kind", replaced("device_secret", "hunter2_secret")},
		{"no fingerprint", replaced("fingerprint", "hunter2")},
		{"too long", append(bytes.Clone(whole), bytes.Repeat([]byte(" "), maxFile)...)},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, when := range []string{"when it is opened", "in use", "when it is replaced"} {
				dir := stateDir(t)
				if when == "when it is opened" {
					write(t, dir, theFile, row.data, 0o600)
				}
				var log bytes.Buffer
				s, err := Open(dir, Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir, "a1B2c3D4e5F+healthy.json", encoded(t, dev("healthy"), secret("x")), 0o600)
				switch when {
				case "in use":
					write(t, dir, theFile, row.data, 0o600)
					_, err := s.Get(dev("d"))
					damaged, ok := errors.AsType[*DamagedError](err)
					if !ok || damaged.Device != dev("d") || damaged.SetAside == "" || errors.Is(err, ErrNotFound) {
						t.Errorf("Get = %v", err)
					}
					if ok && strings.Contains(err.Error(), "hunter") {
						t.Errorf("the error quotes the file: %v", err)
					}
				case "when it is replaced":
					write(t, dir, theFile, row.data, 0o600)
					if err := s.Put(dev("d"), secret("new")); err != nil {
						t.Fatal(err)
					}
				}
				aside, err := s.SetAside()
				if err != nil || len(aside) != 1 || !strings.HasPrefix(filepath.Base(aside[0]), theFile+corrupt) {
					t.Fatalf("%s: set aside: %v, %v", when, aside, err)
				}
				if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, row.data) {
					t.Errorf("%s: it changed: %v", when, err)
				}
				if !strings.Contains(log.String(), `"ERROR"`) || strings.Contains(log.String(), "hunter") {
					t.Errorf("%s: the log says %s", when, &log)
				}
				_, err = s.Get(dev("d"))
				if when != "when it is replaced" && (!errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), aside[0])) {
					t.Errorf("%s: then Get = %v", when, err)
				}
				if when == "when it is replaced" && err != nil {
					t.Errorf("%s: then Get = %v", when, err)
				}
				if _, err := s.Get(dev("healthy")); err != nil {
					t.Errorf("%s: another device: %v", when, err)
				}
			}
		})
	}
}

func TestANewerFileIsRefusedAndKept(t *testing.T) {
	dir := stateDir(t)
	data := []byte(`{"version": 2, "everything": {"else": "is new"}}`)
	path := write(t, dir, theFile, data, 0o600)
	s := open(t, dir, "")
	_, err := s.Get(dev("d"))
	unknown, ok := errors.AsType[*UnknownVersionError](err)
	if !ok || unknown.Found != 2 || unknown.Path != path || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("Get = %v", err)
	}
	if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("the file was touched: %v", err)
	}
	// A new secret cannot be asked for twice, so it is stored all the same, and the file is kept beside it.
	if err := s.Put(dev("d"), secret("new")); err != nil {
		t.Fatal(err)
	}
	aside, err := s.SetAside()
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v, %v", aside, err)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("the file was lost: %v", err)
	}
}

func TestAFileThatOthersCanReadIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o777} {
		dir := stateDir(t)
		path := write(t, dir, theFile, encoded(t, dev("d"), secret("x")), mode)
		s := open(t, dir, "")
		if _, err := s.Get(dev("d")); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) || errors.Is(err, ErrNotFound) {
			t.Errorf("mode %#o: %v", mode, err)
		}
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(dev("d")); err != nil {
			t.Errorf("after chmod: %v", err)
		}
	}
}

func TestAPipeInPlaceOfAFileDoesNotHang(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	if err := syscall.Mkfifo(filepath.Join(dir, dirName, theFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(dev("d")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Get = %v", err)
	}
}

func TestACopiedFileIsNotTakenForTheOtherDevices(t *testing.T) {
	dir := stateDir(t)
	path := write(t, dir, theFile, encoded(t, dev("other"), secret("x")), 0o600)
	_, err := open(t, dir, "").Get(dev("d"))
	if err == nil || !strings.Contains(err.Error(), "other") || errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file was moved: %v", err)
	}
}

func TestADamagedCandidateIsNeverPromoted(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	if err := s.Put(dev("d"), secret("works")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a1B2c3D4e5F+d+candidate.json", []byte("{"), 0o600)
	if err := s.Promote(dev("d")); err == nil {
		t.Error("it was promoted")
	}
	if c, err := s.Get(dev("d")); err != nil || !c.Same(secret("works")) {
		t.Errorf("Get = %v, %v", c, err)
	}
}

func TestWhatAKilledProcessHalfWroteIsRemoved(t *testing.T) {
	dir := stateDir(t)
	for _, name := range []string{
		"." + theFile + "8412398471", ".a1B2c3D4e5F+d.json.age12", ".a1B2c3D4e5F+d+candidate.json3", ".a1B2c3D4e5F+d+intent.json4",
	} {
		write(t, dir, name, []byte(`{"secret": "hunter`), 0o600)
	}
	write(t, dir, theFile, encoded(t, dev("d"), secret("x")), 0o600)
	write(t, dir, ".keep", nil, 0o600)
	write(t, dir, "README", nil, 0o600)
	s := open(t, dir, "")
	if left := strings.Join(names(t, dir), " "); left != ".keep README "+theFile {
		t.Errorf("left are %s", left)
	}
	if _, err := s.Get(dev("d")); err != nil {
		t.Error(err)
	}
}

func FuzzReadingAStoredRecord(f *testing.F) {
	id := dev("d")
	f.Add([]byte(nil))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"secret":7}`))
	for _, c := range []Credential{secret("hunter2"), cred(DeviceToken, "id", "", "^1^2"), cred(MQTT, "id", "dn&pk", "\u2028\x00")} {
		f.Add(encoded(f, id, c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCredential(id, data)
		if err != nil {
			return
		}
		again, err := encodeCredential(id, c)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := decodeCredential(id, again)
		if err != nil || !back.Same(c) || back.Source != c.Source || !back.StoredAt.Equal(c.StoredAt) {
			t.Errorf("%+v became %+v, %v", c, back, err)
		}
	})
}
