package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

type tx = bbolt.Tx

func jsonLog(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// sound is a database with all kinds of pages: branches, leaves, overflow, unused ones, buckets inside and outside of
// their parent's page.
func sound(t testing.TB) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	db, err := Open(dir, quiet, KeepEvents(300, 0))
	if err != nil {
		t.Fatal(err)
	}
	for first := uint64(1); first < 500; first += 100 {
		if err := db.AppendEvents(first, records(first, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		db.AppendEvents(1000, [][]byte{make([]byte, 3*os.Getpagesize())}),
		db.PutDesired(dev("a"), []byte("x")),
		db.ChangeQueue(queued("out/a/", 60, 300)),
		db.ChangeQueue(queued("ended/a/", 3, 10)),
		db.Close(),
	); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// queued puts n records of size bytes into a queue.
func queued(queue string, n, size int) []message.Change {
	changes := make([]message.Change, n)
	for i := range changes {
		changes[i] = message.Change{Queue: queue, Sequence: uint64(i + 1), Record: make([]byte, size)}
	}
	return changes
}

// sealed makes the header pages of data valid again after a test has changed them. That includes their numbers and
// kinds, at which bbolt looks in its own check and nowhere else.
func sealed(data []byte) []byte {
	for i := range uint64(2) {
		page := data[int(i)*os.Getpagesize():]
		binary.NativeEndian.PutUint64(page, i)
		binary.NativeEndian.PutUint16(page[8:], 0x04)
		start := int(i)*os.Getpagesize() + pageHeader
		sum := fnv.New64a()
		_, _ = sum.Write(data[start : start+metaLength-8])
		binary.NativeEndian.PutUint64(data[start+metaLength-8:], sum.Sum64())
	}
	return data
}

// in writes data as the database of a new state directory.
func in(t testing.TB, data []byte) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, fileName), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestADamagedFileIsSetAsideWhole(t *testing.T) {
	whole, size := sound(t), os.Getpagesize()
	h, err := readHeader(bytes.NewReader(whole), uint64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	used := int(h.pages) * size
	both := func(offset int, value uint64) []byte { // changes both header pages and makes them valid again
		data := bytes.Clone(whole)
		binary.NativeEndian.PutUint64(data[pageHeader+offset:], value)
		binary.NativeEndian.PutUint64(data[size+pageHeader+offset:], value)
		return sealed(data)
	}
	zero := func(page uint64) []byte {
		data := bytes.Clone(whole)
		clear(data[int(page)*size : int(page+1)*size])
		return data
	}
	random := make([]byte, used)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, row := range []struct {
		name string
		data []byte
	}{
		{"one byte", []byte{0}},
		{"a text", []byte("this is not a database")},
		{"random bytes", random},
		{"zeros", make([]byte, used)},
		{"cut within the first page", whole[:100]},
		{"cut within the second page", whole[:size+20]},
		{"cut after the headers", whole[:2*size]},
		{"cut in half", whole[:used/2]},
		{"cut by one byte", whole[:used-1]},
		{"no header at all", append(make([]byte, 2*size), whole[2*size:]...)},
		{"the root page is empty", zero(h.root)},
		{"the freelist is empty", zero(h.freelist)},
		{"the root is outside", both(16, 1<<50)},
		{"the root is a header", both(16, 1)},
		{"the root is the freelist", both(16, h.freelist)},
		{"the freelist is outside", both(32, 1<<63)},
		{"the freelist is the root", both(32, h.root)},
		{"more pages than the file", both(40, 1<<40)},
		{"odd page size", both(8, 4097)},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := in(t, row.data)
			db := open(t, dir)
			kept, err := os.ReadFile(db.SetAside())
			if err != nil || !bytes.Equal(kept, row.data) {
				t.Fatalf("%q does not hold the damaged file: %v", db.SetAside(), err)
			}
			if !strings.HasPrefix(db.SetAside(), filepath.Join(dir, fileName)+".corrupt-") {
				t.Errorf("it was set aside as %s", db.SetAside())
			}
			if err := errors.Join(db.AppendEvents(1, records(1, 1)), db.PutDesired(dev("a"), nil), db.Close()); err != nil {
				t.Errorf("the fresh one: %v", err)
			}
			if again := open(t, dir); again.SetAside() != "" || again.Epoch() != db.Epoch() {
				t.Error("the fresh one was not taken the next time")
			}
		})
	}
}

func TestASoundFileIsKept(t *testing.T) {
	whole := sound(t)
	oneHeader := func(i int) []byte { // a power cut while the other one was being written
		data := bytes.Clone(whole)
		clear(data[i*os.Getpagesize() : (i+1)*os.Getpagesize()])
		return data
	}
	for name, data := range map[string][]byte{
		"whole": whole, "empty": {}, "first header torn": oneHeader(0), "second header torn": oneHeader(1),
	} {
		db := open(t, in(t, data))
		if db.SetAside() != "" {
			t.Errorf("%s: set aside as %s", name, db.SetAside())
		}
	}
}

func TestAnotherProgramsDatabaseIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	other, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if db := open(t, in(t, data)); db.SetAside() == "" {
		t.Error("it was taken for ours")
	}
}

func TestAMissingPartIsDamage(t *testing.T) {
	for name, harm := range map[string]func(*tx) error{
		"no journal":       func(tx *tx) error { return tx.DeleteBucket(eventsBucket) },
		"no desired state": func(tx *tx) error { return tx.DeleteBucket(desiredBucket) },
		"no epoch":         func(tx *tx) error { return tx.Bucket(metaBucket).Delete(epochKey) },
		"an odd queue key": func(tx *tx) error {
			queues, err := tx.CreateBucketIfNotExists(queuesBucket)
			if err != nil {
				return err
			}
			queue, err := queues.CreateBucketIfNotExists([]byte("out/a/"))
			if err != nil {
				return err
			}
			return queue.Put([]byte("odd"), nil)
		},
		"an odd queue": func(tx *tx) error {
			queues, err := tx.CreateBucketIfNotExists(queuesBucket)
			if err != nil {
				return err
			}
			return queues.Put([]byte("out/a/"), nil)
		},
		"an odd sequence": func(tx *tx) error { return tx.Bucket(eventsBucket).Put([]byte("odd"), nil) },
	} {
		dir := stateDir(t)
		db := open(t, dir)
		if err := errors.Join(db.update("x", harm), db.Close()); err != nil {
			t.Fatal(err)
		}
		if db := open(t, dir); db.SetAside() == "" {
			t.Errorf("%s: taken for whole", name)
		}
	}
}

func TestANewerFileIsRefusedAndLeftAlone(t *testing.T) {
	newer := stateDir(t)
	db := open(t, newer)
	put := func(tx *tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("2")) }
	if err := errors.Join(db.update("x", put), db.Close()); err != nil {
		t.Fatal(err)
	}
	newerBolt := sound(t)
	for _, start := range []int{0, os.Getpagesize()} {
		binary.NativeEndian.PutUint32(newerBolt[start+pageHeader+4:], 3)
	}
	for _, row := range []struct{ dir, found string }{{newer, "2"}, {in(t, sealed(newerBolt)), "bbolt 3"}} {
		path := filepath.Join(row.dir, fileName)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-time.Hour).Truncate(time.Second)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		for range 2 { // also: the first refusal holds no lock
			_, err = Open(row.dir, quiet)
			unknown, ok := errors.AsType[*UnknownVersionError](err)
			if !ok || unknown.Found != row.found || !strings.Contains(err.Error(), "--state-dir") {
				t.Errorf("Open = %v", err)
			}
		}
		after, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil || !bytes.Equal(before, after) || !info.ModTime().Equal(long) {
			t.Errorf("the file was touched: %v, %v", err, err2)
		}
		if files, _ := os.ReadDir(row.dir); len(files) != 1 {
			t.Errorf("the directory holds %v", files)
		}
	}
}

// A file that someone cuts short under a running sidecar makes a bus error out of every read.
func TestAFileThatGoesBadInUseDoesNotEndTheProcess(t *testing.T) {
	for _, row := range []struct {
		name string
		cut  int64 // pages that are left
		call func(*DB) error
	}{
		{"reading events", 2, func(db *DB) error { _, _, err := db.ReadEvents(0, 1000); return err }},
		{"reading what is wanted", 2, func(db *DB) error { _, err := db.Desired(); return err }},
		{"appending", 2, func(db *DB) error { return db.AppendEvents(5000, records(5000, 5)) }},
		{"reading without a header", 0, func(db *DB) error { _, err := db.Desired(); return err }},
		{"appending without a header", 0, func(db *DB) error { return db.AppendEvents(5000, records(5000, 5)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := in(t, sound(t))
			db := open(t, dir)
			if err := os.Truncate(filepath.Join(dir, fileName), row.cut*int64(os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
			if err := row.call(db); !errors.Is(err, ErrDamaged) {
				t.Fatalf("it returned %v", err)
			}
			_, err := db.Desired() // everything after that says so at once, whatever locks the fault left behind
			if err2 := db.PutDesired(dev("a"), nil); !errors.Is(err, ErrDamaged) || !errors.Is(err2, ErrDamaged) {
				t.Errorf("then: %v, %v", err, err2)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if again := open(t, dir); row.cut > 0 && again.SetAside() == "" {
				t.Error("the next one took it for whole")
			}
		})
	}
}

// survives opens the damaged data and uses it. Whatever happens, it must not be a crash, and what the check lets
// through bbolt's own check must let through.
func survives(t *testing.T, data []byte) {
	t.Helper()
	dir := in(t, data)
	db, err := Open(dir, quiet)
	if _, unknown := errors.AsType[*UnknownVersionError](err); unknown {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.view("x", func(tx *tx) error {
		for err := range tx.Check() {
			if !strings.Contains(err.Error(), "unreachable unfreed") { // a lost page harms nobody
				t.Errorf("the check let through: %v", err)
			}
		}
		return nil
	})
	_, desired := db.Desired()
	_, _, read := db.ReadEvents(0, 1000)
	names, queues := db.ListQueues("")
	for _, name := range names {
		queues = errors.Join(queues, db.ScanQueue(name, func(uint64, []byte) error { return nil }))
	}
	last, _ := db.LastSequence()
	var appended error
	if last < 1<<63 {
		appended = db.AppendEvents(last+1, records(last+1, 50))
	}
	if err := errors.Join(err, desired, read, queues, appended); err != nil {
		t.Errorf("the check let through: %v", err)
	}
}

func TestNoChangedByteEndsTheProcess(t *testing.T) {
	whole := sound(t)
	h, err := readHeader(bytes.NewReader(whole), uint64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	for i := range 150 {
		data := bytes.Clone(whole)
		page := int(random.Uint64N(h.pages)) * os.Getpagesize()
		for range 1 + random.IntN(3) { // in the page's header and table, where the numbers are
			data[page+random.IntN(64)] ^= byte(1 << random.IntN(8))
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { survives(t, sealed(data)) })
	}
}

func FuzzOpeningADamagedFile(f *testing.F) {
	whole := sound(f)
	f.Add(uint32(0), []byte{})
	f.Add(uint32(pageHeader+16), []byte{9})
	f.Add(uint32(2*os.Getpagesize()+8), []byte{0x10, 0, 0xFF, 0xFF})
	f.Add(uint32(3*os.Getpagesize()+10), []byte{0xFF, 0xFF, 1})
	f.Add(uint32(5*os.Getpagesize()+pageHeader+4), []byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, offset uint32, patch []byte) {
		data := bytes.Clone(whole)
		copy(data[int(offset)%len(data):], patch)
		survives(t, sealed(data))
	})
}

func TestALargeDatabaseIsOpenedWithoutReadingAllOfIt(t *testing.T) {
	data := sound(t)
	h, err := readHeader(bytes.NewReader(data), uint64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	clear(data[int(h.root)*os.Getpagesize():][:os.Getpagesize()])
	path := filepath.Join(in(t, data), fileName)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := verify(file, h.pages*h.pageSize); !errors.Is(err, ErrDamaged) {
		t.Errorf("up to the limit: %v", err)
	}
	if err := verify(file, h.pages*h.pageSize-1); err != nil {
		t.Errorf("over the limit: %v", err)
	}
}

// What the header check does not see in a database that is too large to be read whole, bbolt's own panic tells.
func TestAPanicOfTheLibraryIsDamageToo(t *testing.T) {
	data := sound(t)
	h, err := readHeader(bytes.NewReader(data), uint64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	data[int(h.freelist)*os.Getpagesize()+8] = branchPage
	dir := in(t, data)
	db := &DB{log: quiet, dir: dir, path: filepath.Join(dir, fileName)}
	if db.file, err = openLocked(db.path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.file.Close() }()
	if err := db.guarded(db.openBolt); !errors.Is(err, ErrDamaged) {
		t.Errorf("opening it: %v", err)
	}
}
