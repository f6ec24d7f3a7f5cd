package store

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// children are the programs that the test binary becomes when it starts itself again: what they do to themselves, no
// test could survive. Each gets a state directory.
var children = map[string]func(dir string){
	"append":  appendForEver,
	"fill up": fillUp,
}

const childEnv = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if name, dir, found := strings.Cut(os.Getenv(childEnv), ":"); found {
		children[name](dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child starts the test binary as the named child. Its lines come from stdout; its errors go to the test's.
func child(t *testing.T, name, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name+":"+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(stdout)
}

// must ends a child that cannot go on.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, dir string, options ...Option) *DB {
	t.Helper()
	db, err := Open(dir, quiet, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func stateDir(t *testing.T) string { return filepath.Join(t.TempDir(), "state") }

func dev(name string) device.ID { return device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: name} }

// records makes n records whose text tells their sequence.
func records(first uint64, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = record(first + uint64(i))
	}
	return all
}

func record(sequence uint64) []byte {
	return fmt.Appendf(nil, "event %d %s", sequence, strings.Repeat("x", int(sequence%200)))
}
