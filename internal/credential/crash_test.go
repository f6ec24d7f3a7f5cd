package credential

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// numbered is a credential that tells which one it is. Its length differs from that of the one before.
func numbered(n int) Credential {
	return secret(fmt.Sprintf("%d-%s", n, strings.Repeat("x", n*97%1500)))
}

func number(c Credential) int {
	text, _, _ := strings.Cut(c.Secret.Reveal(), "-")
	n, _ := strconv.Atoi(text)
	return n
}

// stored is the number of the credential that the store has, 0 when there is none.
func stored(s *Store) int {
	c, err := s.Get(dev("d"))
	if !errors.Is(err, ErrNotFound) {
		must(err)
	}
	return number(c)
}

// putForEver stores one credential after the other and prints the number of each that was acknowledged.
func putForEver(dir, keyFile string) {
	s, err := Open(dir, Options{KeyFile: keyFile})
	must(err)
	for n := stored(s) + 1; ; n++ {
		must(s.Put(dev("d"), numbered(n)))
		fmt.Println(n)
	}
}

// promoteForEver does the same by way of candidates.
func promoteForEver(dir, keyFile string) {
	s, err := Open(dir, Options{KeyFile: keyFile})
	must(err)
	for n := stored(s) + 1; ; n++ {
		must(s.PutCandidate(dev("d"), numbered(n)))
		must(s.Promote(dev("d")))
		fmt.Println(n)
	}
}

func TestAKillLeavesTheAcknowledgedCredentialOrTheNext(t *testing.T) {
	for _, row := range []struct{ name, keyFile string }{{"put", ""}, {"put", newKey(t)}, {"promote", ""}, {"promote", newKey(t)}} {
		dir := stateDir(t)
		acknowledged := 0
		for round := range 5 {
			cmd, lines := child(t, row.name, dir, row.keyFile)
			for left := 1 + rand.IntN(40); left > 0 && lines.Scan(); left-- {
				acknowledged, _ = strconv.Atoi(lines.Text())
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() { // what it had said by then
				acknowledged, _ = strconv.Atoi(lines.Text())
			}
			_ = cmd.Wait()

			s := open(t, dir, row.keyFile)
			c, err := s.Get(dev("d"))
			if n := number(c); err != nil || acknowledged == 0 || n != acknowledged && n != acknowledged+1 || !c.Same(numbered(n)) {
				t.Fatalf("%s, round %d: acknowledged %d, found %d, %v", row.name, round, acknowledged, n, err)
			}
			if _, err := s.Candidate(dev("d")); err != nil && !errors.Is(err, ErrNotFound) {
				t.Errorf("%s, round %d: the candidate: %v", row.name, round, err)
			}
			for _, name := range names(t, dir) {
				if strings.HasPrefix(name, ".") || strings.Contains(name, corrupt) {
					t.Errorf("%s, round %d: it left %s", row.name, round, name)
				}
			}
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

// fillUp runs into the limit with every method that writes, and prints what is there then.
func fillUp(dir, keyFile string) {
	s, err := Open(dir, Options{KeyFile: keyFile})
	must(err)
	must(s.Put(dev("d"), numbered(1)))
	must(s.PutCandidate(dev("d"), numbered(2)))
	for _, size := range []uint64{0, 10, 100} {
		must(limitFiles(size))
		for i, err := range []error{
			s.Put(dev("d"), numbered(3)), s.PutCandidate(dev("d"), numbered(4)), s.Put(dev("new"), numbered(5)),
			s.Begin(dev("d"), Intent{Endpoint: strings.Repeat("x", 200)}),
		} {
			if !errors.Is(err, statedir.ErrDiskFull) {
				must(fmt.Errorf("call %d with room for %d bytes: %w", i, size, err))
			}
		}
		c, err := s.Get(dev("d"))
		must(err)
		cand, err := s.Candidate(dev("d"))
		must(err)
		intents, err := s.Interrupted()
		must(err)
		ids, err := s.IDs()
		must(err)
		fmt.Println(number(c), number(cand), len(intents), len(ids))
	}
	must(s.Promote(dev("d"))) // needs no room
	must(limitFiles(unix.RLIM_INFINITY))
	must(s.Put(dev("new"), numbered(6)))
	fmt.Println("done")
}

func TestAFullDiskLosesNothingThatWasStored(t *testing.T) {
	for _, keyFile := range []string{"", newKey(t)} {
		dir := stateDir(t)
		cmd, lines := child(t, "fill up", dir, keyFile)
		var said []string
		for lines.Scan() {
			said = append(said, lines.Text())
		}
		if err := cmd.Wait(); err != nil || strings.Join(said, ";") != "1 2 0 1;1 2 0 1;1 2 0 1;done" {
			t.Fatalf("the child said %q, %v", said, err)
		}
		if files := names(t, dir); len(files) != 2 {
			t.Errorf("it left %v", files)
		}
		s := open(t, dir, keyFile)
		c, err := s.Get(dev("d"))
		n, err2 := s.Get(dev("new"))
		if err != nil || err2 != nil || number(c) != 2 || number(n) != 6 {
			t.Errorf("afterwards: %d, %d; %v, %v", number(c), number(n), err, err2)
		}
	}
}
