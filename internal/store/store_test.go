package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

func TestTheFileIsForItsOwnerOnly(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir)
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if db.Size() != info.Size() || db.Size() == 0 {
		t.Errorf("the size is %d, want %d", db.Size(), info.Size())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, fileName), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "chmod 600 "+filepath.Join(dir, fileName)) {
		t.Errorf("a file that the group can read: %v", err)
	}
}

func TestAnOpenStateDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("Open = %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("it left %v behind", entries)
	}
}

func TestWhatIsWantedOutlivesTheProcess(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir)
	for _, row := range []struct {
		id     device.ID
		record string
	}{{dev("a"), "one"}, {dev("b"), "two"}, {dev("c"), "three"}, {dev("a"), "four"}, {dev("e:@._-"), ""}} {
		if err := db.PutDesired(row.id, []byte(row.record)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []device.ID{dev("b"), dev("never seen")} {
		if err := db.DeleteDesired(id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		all, err := db.Desired()
		want := map[device.ID][]byte{dev("a"): []byte("four"), dev("c"): []byte("three"), dev("e:@._-"): {}}
		if err != nil || !maps.EqualFunc(all, want, bytes.Equal) {
			t.Errorf("Desired = %q, %v", all, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, dir)
	}
	if err := db.PutDesired(device.ID{ProductKey: "a/b", DeviceName: "c"}, nil); !errors.Is(err, device.ErrInvalidID) {
		t.Errorf("a device that cannot be: %v", err)
	}
}

func TestOneBadEntryDoesNotHideTheOtherDevices(t *testing.T) {
	db := open(t, stateDir(t))
	if err := db.PutDesired(dev("good"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := db.update("x", func(tx *tx) error { return tx.Bucket(desiredBucket).Put([]byte("no slash"), nil) }); err != nil {
		t.Fatal(err)
	}
	if all, err := db.Desired(); err != nil || len(all) != 1 || string(all[dev("good")]) != "x" {
		t.Errorf("Desired = %v, %v", all, err)
	}
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	db := open(t, stateDir(t))
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, desired := db.Desired()
	_, _, read := db.ReadEvents(0, 1)
	_, last := db.LastSequence()
	_, oldest := db.OldestSequence()
	append1 := db.AppendEvents(1, records(1, 1))
	for i, err := range []error{db.PutDesired(dev("a"), nil), db.DeleteDesired(dev("a")), desired, append1, read, last, oldest} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := stateDir(t)
	db := open(t, dir)
	synctest.Test(t, func(t *testing.T) { // the second passes at once
		start := time.Now()
		_, err := Open(dir, quiet)
		if !errors.Is(err, statedir.ErrInUse) || !strings.Contains(err.Error(), "--state-dir") {
			t.Errorf("Open = %v", err)
		}
		if waited := time.Since(start); waited < lockWait || waited > 2*lockWait {
			t.Errorf("it waited %v", waited)
		}
	})
	if err := db.PutDesired(dev("a"), []byte("x")); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
	if all, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(all) != 1 {
		t.Errorf("the directory holds %v, %v", all, err)
	}
}

func TestAnyGoroutineMayCall(t *testing.T) {
	db := open(t, stateDir(t))
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			id := dev(string(rune('a' + n)))
			for i := range 8 {
				_, _ = db.Desired()
				_, _, _ = db.ReadEvents(0, 100)
				db.Size()
				if err := db.PutDesired(id, []byte{byte(i)}); err != nil {
					t.Error(err)
				}
				last, _ := db.LastSequence()
				_ = db.AppendEvents(last+1, records(last+1, 2)) // may lose the race for the sequence
			}
		})
	}
	all.Wait()
	desired, err := db.Desired()
	if err != nil || len(desired) != 4 {
		t.Errorf("Desired = %v, %v", desired, err)
	}
	first, events, err := db.ReadEvents(0, 1000)
	last, _ := db.LastSequence()
	if err != nil || first != 1 || uint64(len(events)) != last || !slices.EqualFunc(events, records(1, int(last)), bytes.Equal) {
		t.Errorf("%d events from %d, last %d, %v", len(events), first, last, err)
	}
}

func TestTheLogTellsWhatWasSetAside(t *testing.T) {
	dir := stateDir(t)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, fileName), []byte("rubbish"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	db, err := Open(dir, jsonLog(&text))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var line struct {
		Level    string `json:"level"`
		SetAside string `json:"set_aside"`
	}
	if err := json.Unmarshal(text.Bytes(), &line); err != nil || line.Level != "ERROR" || line.SetAside != db.SetAside() {
		t.Errorf("it logged %s, %v", &text, err)
	}
}
