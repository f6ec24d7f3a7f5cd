package credential

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestEncryptedFilesShowNothing(t *testing.T) {
	dir, keyFile := stateDir(t), newKey(t)
	s := open(t, dir, keyFile)
	c := cred(MQTT, "the client", "the user", "hunter2")
	if err := errors.Join(s.Put(dev("d"), c), s.PutCandidate(dev("d"), secret("hunter3"))); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(names(t, dir)); got != "[a1B2c3D4e5F+d+candidate.json.age a1B2c3D4e5F+d.json.age]" {
		t.Errorf("the files are %s", got)
	}
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, dirName, name))
		if err != nil || !bytes.HasPrefix(data, []byte("age-encryption.org/v1\n")) {
			t.Errorf("%s is no age file: %v", name, err)
		}
		for _, s := range []string{"hunter", "the client", "the user", "secret"} {
			if bytes.Contains(data, []byte(s)) {
				t.Errorf("%s shows %q", name, s)
			}
		}
	}
	// Anybody with the key and the age command can read them.
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, dirName, "a1B2c3D4e5F+d.json.age"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := age.Decrypt(f, identities...)
	if err != nil {
		t.Fatal(err)
	}
	var plainText bytes.Buffer
	if _, err := plainText.ReadFrom(r); err != nil || !strings.Contains(plainText.String(), "hunter2") {
		t.Errorf("it decrypts to %s, %v", &plainText, err)
	}
}

func TestWithoutTheRightKeyAStoreDoesNotOpen(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, newKey(t))
	if err := s.Put(dev("d"), secret("x")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		keyFile string
		want    error
	}{{"", ErrKeyNeeded}, {newKey(t), ErrWrongKey}, {newKey(t, newIdentity(t), newIdentity(t)), ErrWrongKey}} {
		_, err := Open(dir, Options{KeyFile: row.keyFile})
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), theFile+".age") || !strings.Contains(err.Error(), "key file") {
			t.Errorf("Open = %v", err)
		}
		if got := fmt.Sprint(names(t, dir)); got != "["+theFile+".age]" {
			t.Errorf("the files became %s", got)
		}
	}
	if c, err := s.Get(dev("d")); err != nil || !c.Same(secret("x")) {
		t.Errorf("with the right one: %v, %v", c, err)
	}
}

func TestAKeyFileThatCannotServeIsRefused(t *testing.T) {
	wide, notAKey, empty := newKey(t), newKey(t, "hunter2"), newKey(t, "")
	if err := os.Chmod(wide, 0o640); err != nil {
		t.Fatal(err)
	}
	broken := newKey(t, strings.Replace(newIdentity(t), "1", "1hunter2", 1))
	for _, row := range []struct{ keyFile, want string }{
		{wide, "chmod 600 " + wide},
		{notAKey, "AGE-SECRET-KEY-1"},
		{broken, "AGE-SECRET-KEY-1"},
		{empty, "AGE-SECRET-KEY-1"},
		{filepath.Join(t.TempDir(), "missing"), "no such file"},
		{t.TempDir(), "not a regular file"},
	} {
		_, err := Open(stateDir(t), Options{KeyFile: row.keyFile})
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open = %v, want %q", err, row.want)
		}
	}
	strict := newKey(t)
	if err := os.Chmod(strict, 0o400); err != nil {
		t.Fatal(err)
	}
	open(t, stateDir(t), strict)
}

func TestReadableFilesAreEncryptedWhenAKeyComes(t *testing.T) {
	dir, keyFile := stateDir(t), newKey(t)
	bare := open(t, dir, "")
	if err := errors.Join(
		bare.Put(dev("a"), secret("one")), bare.PutCandidate(dev("a"), secret("two")), bare.Put(dev("b"), secret("three")),
		bare.Begin(dev("a"), Intent{Method: "x"}),
	); err != nil {
		t.Fatal(err)
	}
	before, err := bare.Get(dev("a"))
	if err != nil {
		t.Fatal(err)
	}
	const files = "[a1B2c3D4e5F+a+candidate.json.age a1B2c3D4e5F+a+intent.json a1B2c3D4e5F+a.json.age a1B2c3D4e5F+b.json.age]"
	for range 2 {
		s := open(t, dir, keyFile)
		if got := fmt.Sprint(names(t, dir)); got != files {
			t.Errorf("the files are %s", got)
		}
		a, err := s.Get(dev("a"))
		cand, err2 := s.Candidate(dev("a"))
		b, err3 := s.Get(dev("b"))
		err = errors.Join(err, err2, err3)
		same := a.Same(before) && a.StoredAt.Equal(before.StoredAt) && cand.Same(secret("two")) && b.Same(secret("three"))
		if err != nil || !same {
			t.Errorf("%v %v %v %v", a, cand, b, err)
		}
	}
}

func TestAReadableFileIsReplacedByAnEncryptedOne(t *testing.T) {
	id := dev("d")
	for name, do := range map[string]func(*Store) error{
		"put":     func(s *Store) error { return s.Put(id, secret("new")) },
		"promote": func(s *Store) error { return errors.Join(s.PutCandidate(id, secret("new")), s.Promote(id)) },
		"promote a readable one": func(s *Store) error {
			write(t, filepath.Dir(s.dir), "a1B2c3D4e5F+d+candidate.json", encoded(t, id, secret("new")), 0o600)
			return s.Promote(id)
		},
	} {
		dir := stateDir(t)
		s := open(t, dir, newKey(t))
		write(t, dir, theFile, encoded(t, id, secret("old")), 0o600)
		if c, err := s.Get(id); err != nil || !c.Same(secret("old")) {
			t.Errorf("%s: before: %v, %v", name, c, err)
		}
		if err := do(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c, err := s.Get(id); err != nil || !c.Same(secret("new")) {
			t.Errorf("%s: after: %v, %v", name, c, err)
		}
		if got := fmt.Sprint(names(t, dir)); got != "["+theFile+".age]" {
			t.Errorf("%s: the files are %s", name, got)
		}
	}
}

func TestAnEncryptionThatWasInterruptedIsFinished(t *testing.T) {
	dir, keyFile := stateDir(t), newKey(t)
	if err := open(t, dir, keyFile).Put(dev("d"), secret("new")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, theFile, encoded(t, dev("d"), secret("old")), 0o600) // killed before this was removed
	s := open(t, dir, keyFile)
	if c, err := s.Get(dev("d")); err != nil || !c.Same(secret("new")) {
		t.Errorf("Get = %v, %v", c, err)
	}
	if got := fmt.Sprint(names(t, dir)); got != "["+theFile+".age]" {
		t.Errorf("the files are %s", got)
	}
}

func TestAReadableFileStandsInForADamagedEncryptedOne(t *testing.T) {
	dir, keyFile := stateDir(t), newKey(t)
	write(t, dir, theFile+".age", []byte("rubbish"), 0o600)
	write(t, dir, theFile, encoded(t, dev("d"), secret("old")), 0o600)
	s := open(t, dir, keyFile)
	if c, err := s.Get(dev("d")); err != nil || !c.Same(secret("old")) {
		t.Errorf("Get = %v, %v", c, err)
	}
	if aside, err := s.SetAside(); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

func TestKeysAreChangedByPuttingANewOneInFront(t *testing.T) {
	dir, before, after := stateDir(t), newIdentity(t), newIdentity(t)
	if err := open(t, dir, newKey(t, before)).Put(dev("d"), secret("x")); err != nil {
		t.Fatal(err)
	}
	open(t, dir, newKey(t, after, before)) // encrypts again
	if c, err := open(t, dir, newKey(t, after)).Get(dev("d")); err != nil || !c.Same(secret("x")) {
		t.Errorf("with the new key alone: %v, %v", c, err)
	}
	if _, err := Open(dir, Options{KeyFile: newKey(t, before)}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with the old key alone: %v", err)
	}
}

func TestAPostQuantumKeyWillDo(t *testing.T) {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	dir, keyFile := stateDir(t), newKey(t, identity.String())
	if err := open(t, dir, keyFile).Put(dev("d"), secret("x")); err != nil {
		t.Fatal(err)
	}
	if c, err := open(t, dir, keyFile).Get(dev("d")); err != nil || !c.Same(secret("x")) {
		t.Errorf("Get = %v, %v", c, err)
	}
}

func TestADamagedEncryptedFileIsSetAside(t *testing.T) {
	keyFile := newKey(t)
	whole := func() (dir, path string, data []byte) {
		dir = stateDir(t)
		if err := open(t, dir, keyFile).Put(dev("d"), secret("x")); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, dirName, theFile+".age")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return dir, path, data
	}
	for name, harm := range map[string]func([]byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"cut short":        func(b []byte) []byte { return b[:len(b)-1] },
		"a changed byte":   func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
		"a changed header": func(b []byte) []byte { b[3] ^= 1; return b },
		"not encrypted":    func([]byte) []byte { return encoded(t, dev("d"), secret("x")) },
	} {
		dir, path, data := whole()
		if err := os.WriteFile(path, harm(data), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, keyFile)
		if aside, err := s.SetAside(); err != nil || len(aside) != 1 {
			t.Errorf("%s: set aside %v, %v", name, aside, err)
		}
		if _, err := s.Get(dev("d")); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: Get = %v", name, err)
		}
	}
}
