package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

func TestACredentialComesBackAsItWasStored(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 678, time.FixedZone("x", 3600))
	rows := []Credential{
		{Kind: DeviceSecret, Secret: device.NewSecret("hunter2"), Source: "register/pre_registered", StoredAt: when},
		{Kind: DeviceToken, ClientID: "AbC", Secret: device.NewSecret("^1^1700000000000^0123"), Source: "register", StoredAt: when},
		{Kind: MQTT, ClientID: "a|securemode=2,_ss=1|", Username: "dn&pk", Secret: device.NewSecret("<\"\\\x00é\u2028漢>"), StoredAt: when},
		{Kind: DeviceSecret, Secret: device.NewSecret(strings.Repeat("\x01", maxField)), StoredAt: when},
	}
	for _, keyFile := range []string{"", newKey(t)} {
		for i, c := range rows {
			dir := stateDir(t)
			s := open(t, dir, keyFile)
			if err := s.Put(dev("d"), c); err != nil {
				t.Fatalf("row %d: %v", i, err)
			}
			for range 2 { // by the same process and by the next
				got, err := s.Get(dev("d"))
				if err != nil || !got.Same(c) || got.Source != c.Source || !got.StoredAt.Equal(when) {
					t.Errorf("row %d: %+v, %v", i, got, err)
				}
				s = open(t, dir, keyFile)
			}
		}
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	if err := errors.Join(s.Put(dev("d"), secret("x")), s.PutCandidate(dev("d"), secret("y")), s.Begin(dev("d"), Intent{})); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, err2 := d.Info()
		modes[filepath.Base(path)] = info.Mode()
		return errors.Join(err, err2)
	})
	want := map[string]fs.FileMode{
		"state": fs.ModeDir | 0o700, "credentials": fs.ModeDir | 0o700, "a1B2c3D4e5F+d.json": 0o600,
		"a1B2c3D4e5F+d+candidate.json": 0o600, "a1B2c3D4e5F+d+intent.json": 0o600,
	}
	if err != nil || !maps.Equal(modes, want) {
		t.Errorf("the modes are %v, %v", modes, err)
	}
}

func TestTheTimeOfStoringIsFilledIn(t *testing.T) {
	s := open(t, stateDir(t), "")
	before := time.Now()
	if err := s.Put(dev("d"), secret("x")); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Get(dev("d")); err != nil || c.StoredAt.Before(before.Truncate(0)) || c.StoredAt.After(time.Now()) {
		t.Errorf("stored at %v, %v", c.StoredAt, err)
	}
}

func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	for _, id := range []device.ID{
		{},
		{ProductKey: "..", DeviceName: "x"},
		{ProductKey: "pk", DeviceName: "../x"},
		{ProductKey: "pk", DeviceName: "a/b"},
		{ProductKey: "pk", DeviceName: "a+candidate"},
	} {
		_, get := s.Get(id)
		_, cand := s.Candidate(id)
		for i, err := range []error{
			get, cand, s.Put(id, secret("x")), s.PutCandidate(id, secret("x")), s.Promote(id), s.DropCandidate(id), s.Delete(id),
			s.Begin(id, Intent{}), s.End(id),
		} {
			if !errors.Is(err, device.ErrInvalidID) {
				t.Errorf("call %d for %q: %v", i, id, err)
			}
		}
	}
	if err := s.Put(dev("d"), Credential{Kind: DeviceSecret}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no secret: %v", err)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

func TestNamesThatCouldBeMistakenForOthers(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	all := []string{
		".", "..", "-", "a", "a.json", "a.json.age", "a.candidate", "candidate", "intent", "a:b@c", "A", "a.json.corrupt-20260101T000000Z",
		".a.json123", "lock", strings.Repeat("x", 64),
	}
	var want []device.ID
	for _, name := range all {
		id := dev(name)
		want = append(want, id)
		err := errors.Join(s.Put(id, secret("current "+name)), s.PutCandidate(id, secret("candidate "+name)), s.Begin(id, Intent{Method: name}))
		if err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, "")
	if n := len(names(t, dir)); n != 3*len(all) {
		t.Errorf("%d files, want %d", n, 3*len(all))
	}
	intents, err := s.Interrupted()
	if err != nil || len(intents) != len(all) {
		t.Errorf("intents %v, %v", intents, err)
	}
	for _, name := range all {
		c, err := s.Get(dev(name))
		cand, err2 := s.Candidate(dev(name))
		got := [3]string{c.Secret.Reveal(), cand.Secret.Reveal(), intents[dev(name)].Method}
		if err := errors.Join(err, err2); err != nil || got != [3]string{"current " + name, "candidate " + name, name} {
			t.Errorf("%q has %q; %v", name, got, err)
		}
	}
	slices.SortFunc(want, func(a, b device.ID) int { return strings.Compare(a.String(), b.String()) })
	if ids, err := s.IDs(); err != nil || !slices.Equal(ids, want) {
		t.Errorf("IDs = %v, %v", ids, err)
	}
	if aside, err := s.SetAside(); err != nil || len(aside) != 0 {
		t.Errorf("SetAside = %v, %v", aside, err)
	}
}

func TestACandidateWaitsBesideTheCurrentOne(t *testing.T) {
	for _, keyFile := range []string{"", newKey(t)} {
		s := open(t, stateDir(t), keyFile)
		id := dev("d")
		expect := func(wantCurrent, wantCandidate string) {
			t.Helper()
			for _, row := range []struct {
				get  func(device.ID) (Credential, error)
				want string // "" is none
			}{{s.Get, wantCurrent}, {s.Candidate, wantCandidate}} {
				c, err := row.get(id)
				if c.Secret.Reveal() != row.want || (row.want == "") != errors.Is(err, ErrNotFound) || row.want != "" && err != nil {
					t.Errorf("it is %q, %v; want %q", c.Secret.Reveal(), err, row.want)
				}
			}
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		expect("", "")
		if err := s.Promote(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("promoting nothing: %v", err)
		}
		do(s.DropCandidate(id))
		do(s.PutCandidate(id, secret("one")))
		expect("", "one")
		if ids, err := s.IDs(); err != nil || !slices.Equal(ids, []device.ID{id}) {
			t.Errorf("a device with a candidate alone is not listed: %v, %v", ids, err)
		}
		do(s.Promote(id))
		expect("one", "")
		do(s.Promote(id)) // again
		expect("one", "")
		do(s.PutCandidate(id, secret("two")))
		do(s.PutCandidate(id, secret("three")))
		expect("one", "three")
		do(s.DropCandidate(id))
		do(s.DropCandidate(id))
		expect("one", "")
		do(s.PutCandidate(id, secret("four")))
		do(s.Promote(id))
		expect("four", "")
		do(s.PutCandidate(id, secret("five")))
		do(s.Begin(id, Intent{Method: "x"}))
		do(s.Put(dev("other"), secret("other")))
		do(s.Delete(id))
		do(s.Delete(id))
		expect("", "")
		if intents, err := s.Interrupted(); err != nil || len(intents) != 0 {
			t.Errorf("the intent stayed: %v, %v", intents, err)
		}
		if ids, err := s.IDs(); err != nil || !slices.Equal(ids, []device.ID{dev("other")}) {
			t.Errorf("IDs = %v, %v", ids, err)
		}
	}
}

func TestAnInterruptedRegistrationIsTold(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, newKey(t))
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := map[device.ID]Intent{
		dev("a"): {Method: "pre_registered", Endpoint: "mqtts://x:8883", StartedAt: when},
		dev("b"): {Method: "https_legacy", Endpoint: "https://x", StartedAt: when},
	}
	for id, i := range want {
		if err := errors.Join(s.Begin(id, Intent{Method: "earlier"}), s.Begin(id, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Begin(dev("c"), Intent{}), s.End(dev("c")), s.End(dev("c"))); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, newKey(t)) // intents are not encrypted: any key will do
	if got, err := s.Interrupted(); err != nil || !maps.Equal(got, want) {
		t.Errorf("Interrupted = %v, %v", got, err)
	}
	write(t, dir, "a1B2c3D4e5F+a+intent.json", []byte("rubbish"), 0o600)
	write(t, dir, "a1B2c3D4e5F+b+intent.json", []byte(`{"version":2}`), 0o600)
	if got, err := s.Interrupted(); err != nil || !maps.Equal(got, map[device.ID]Intent{dev("a"): {}, dev("b"): {}}) {
		t.Errorf("unreadable ones: %v, %v", got, err)
	}
}

func TestAnyGoroutineMayCall(t *testing.T) {
	s := open(t, stateDir(t), newKey(t))
	if err := s.Put(dev("shared"), secret("x")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			own := dev(fmt.Sprint("own", n))
			for i := range 5 {
				c := secret(fmt.Sprint(n, i))
				err := errors.Join(s.Begin(own, Intent{}), s.PutCandidate(own, c), s.Promote(own), s.Put(dev("shared"), c), s.End(own))
				got, err2 := s.Get(own)
				_, err3 := s.Get(dev("shared"))
				_, err4 := s.IDs()
				_, err5 := s.Interrupted()
				if err := errors.Join(err, err2, err3, err4, err5); err != nil || !got.Same(c) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if ids, err := s.IDs(); err != nil || len(ids) != 5 {
		t.Errorf("IDs = %v, %v", ids, err)
	}
}

func TestAnOpenDirectoryIsRefused(t *testing.T) {
	dir := stateDir(t)
	open(t, dir, "")
	for _, d := range []string{dir, filepath.Join(dir, dirName)} {
		if err := os.Chmod(d, 0o750); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "chmod 700 "+d+"`") {
			t.Errorf("Open = %v", err)
		}
		if err := os.Chmod(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenedIsWhatGetWouldSay(t *testing.T) {
	dir := stateDir(t)
	s := open(t, dir, "")
	for _, name := range []string{"a", "b", "c"} {
		if err := s.Put(dev(name), secret("old")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutCandidate(dev("d"), secret("no current one")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, fileOf(dev("c"), current, sealed).name, []byte("not readable without a key"), 0o644) // which of the two counts is not for a reader of one to say
	s = open(t, dir, "")
	if err := s.Put(dev("b"), secret("new")); err != nil {
		t.Fatal(err)
	}
	opened := s.Opened()
	if c, read := opened[dev("a")]; len(opened) != 1 || !read || !c.Same(secret("old")) {
		t.Errorf("opened %v", opened)
	}
	if again := s.Opened(); len(again) != 0 {
		t.Errorf("a second time %v", again)
	}
}
