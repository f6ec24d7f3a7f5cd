package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// appendForEver appends events and prints each sequence that the journal has acknowledged.
func appendForEver(dir string) {
	db, err := Open(dir, quiet, KeepEvents(1000, 0))
	must(err)
	last, err := db.LastSequence()
	must(err)
	for i := 0; ; i++ {
		n := 1 + i%7
		must(db.AppendEvents(last+1, records(last+1, n)))
		must(db.PutDesired(dev("a"), []byte(strconv.FormatUint(last, 10))))
		last += uint64(n)
		fmt.Println(last)
	}
}

func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	dir := stateDir(t)
	acknowledged := uint64(0)
	for round := range 6 {
		cmd, lines := child(t, "append", dir)
		for left := 1 + rand.IntN(60); left > 0 && lines.Scan(); left-- {
			acknowledged, _ = strconv.ParseUint(lines.Text(), 10, 64)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it had said by then
			acknowledged, _ = strconv.ParseUint(lines.Text(), 10, 64)
		}
		_ = cmd.Wait()

		db := open(t, dir)
		last, err := db.LastSequence()
		if err != nil || db.SetAside() != "" || last < acknowledged || acknowledged == 0 {
			t.Fatalf("round %d: acknowledged %d, found %d, set aside %q, %v", round, acknowledged, last, db.SetAside(), err)
		}
		oldest, _ := db.OldestSequence()
		first, events, err := db.ReadEvents(0, math.MaxInt)
		if err != nil || first != oldest || first+uint64(len(events)) != last+1 || oldest > 1 && len(events) < 1000 {
			t.Fatalf("round %d: %d events from %d, last %d, %v", round, len(events), first, last, err)
		}
		for i, event := range events {
			if !bytes.Equal(event, record(first+uint64(i))) {
				t.Fatalf("round %d: event %d is %q", round, first+uint64(i), event)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// limitFiles makes every write of this process beyond size bytes of a file fail, as on a full disk.
func limitFiles(size uint64) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = size
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
}

// fillUp runs into the limit in several ways, prints a line about each, and goes on when there is room again.
func fillUp(dir string) {
	db, err := Open(dir, quiet)
	must(err)
	must(db.PutDesired(dev("a"), []byte("before")))
	must(db.AppendEvents(1, records(1, 10)))

	for name, size := range map[string]uint64{
		"the file cannot grow":        uint64(db.Size()),
		"the file cannot be written":  0,
		"a page cannot be finished":   uint64(2*os.Getpagesize() + 100),
		"the tail cannot be written":  uint64(4 * os.Getpagesize()),
		"the growth is half possible": uint64(db.Size()) + 5000,
	} {
		must(limitFiles(size))
		appended := db.AppendEvents(11, [][]byte{make([]byte, 4<<20)})
		if !errors.Is(appended, statedir.ErrDiskFull) || !errors.Is(appended, syscall.EFBIG) {
			must(fmt.Errorf("%s: appending: %w", name, appended))
		}
		put := db.PutDesired(dev("b"), make([]byte, 4<<20))
		if !errors.Is(put, statedir.ErrDiskFull) {
			must(fmt.Errorf("%s: putting: %w", name, put))
		}
		first, events, err := db.ReadEvents(0, 100)
		must(err)
		all, err := db.Desired()
		must(err)
		fmt.Println(name, first, len(events), len(all), string(all[dev("a")]))
		must(limitFiles(unix.RLIM_INFINITY))
		must(db.PutDesired(dev("a"), []byte("between"))) // usable at once
		must(db.PutDesired(dev("a"), []byte("before")))
	}
	must(db.AppendEvents(11, records(11, 10)))
	must(db.PutDesired(dev("a"), []byte("after")))
	must(db.Close())
	fmt.Println("done")
}

func TestAFullDiskLosesNothingThatWasStored(t *testing.T) {
	dir := stateDir(t)
	cmd, lines := child(t, "fill up", dir)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Wait(); err != nil || len(said) != 6 || said[5] != "done" {
		t.Fatalf("the child said %q, %v", said, err)
	}
	for _, line := range said[:5] {
		if !strings.HasSuffix(line, " 1 10 1 before") {
			t.Errorf("with a full disk: %s", line)
		}
	}
	db := open(t, dir)
	first, events, err := db.ReadEvents(0, 100)
	all, err2 := db.Desired()
	if err != nil || err2 != nil || db.SetAside() != "" || first != 1 || len(events) != 20 || string(all[dev("a")]) != "after" {
		t.Errorf("afterwards: %d events from %d, %q, set aside %q; %v, %v", len(events), first, all, db.SetAside(), err, err2)
	}
}
