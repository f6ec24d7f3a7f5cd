package statedir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// childDir tells the test binary to be another sidecar that holds the lock of the named directory.
const childDir = "STATEDIR_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		unlock, err := Lock(dir)
		fmt.Println("locked", err)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent lets go, or kills us
		if err == nil {
			_ = unlock()
		}
		return
	}
	os.Exit(m.Run())
}

func TestAMissingDirectoryIsMadeForItsOwnerOnly(t *testing.T) {
	top := filepath.Join(t.TempDir(), "a")
	dir := filepath.Join(top, "b", "c")
	for range 2 { // the second time it is there already
		if err := Prepare(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{top, filepath.Dir(dir), dir} {
		if info, err := os.Stat(d); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
}

func TestADirectoryThatCannotServeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := func(mode fs.FileMode) string {
		d := filepath.Join(t.TempDir(), "state")
		if err := errors.Join(os.Mkdir(d, 0o700), os.Chmod(d, mode)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	group, others, listed, readOnly := dir(0o770), dir(0o701), dir(0o755), dir(0o500)
	for _, row := range []struct{ dir, want string }{
		{"", "--state-dir"},
		{file, "not a directory"},
		{filepath.Join(file, "below"), "not a directory"},
		{group, "run `chmod 700 " + group + "`"},
		{others, "run `chmod 700 " + others + "`"},
		{listed, "run `chmod 700 " + listed + "`"},
		{readOnly, "run `chmod 700 " + readOnly + "`"},
	} {
		err := Prepare(row.dir)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Prepare(%q) = %v, want one line with %q", row.dir, err, row.want)
		}
	}
}

// hold starts another process that holds dir.
func hold(t *testing.T, dir string) (child *exec.Cmd, letGo io.Closer) {
	t.Helper()
	child = exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "locked <nil>\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return child, stdin
}

func TestASecondSidecarIsToldWhichProcessHoldsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	child, letGo := hold(t, dir)
	_, err := Lock(dir)
	inUse, ok := errors.AsType[*InUseError](err)
	if !ok || inUse.PID != child.Process.Pid || inUse.Dir != dir || !errors.Is(err, ErrInUse) {
		t.Fatalf("Lock = %v", err)
	}
	want := fmt.Sprintf("another linkkit-sidecar (pid %d) uses %s; give this one its own --state-dir", child.Process.Pid, dir)
	if err.Error() != want {
		t.Errorf("it says %q, want %q", err, want)
	}
	if err := errors.Join(letGo.Close(), child.Wait()); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatalf("after the holder left: %v", err)
	}
	if Holder(dir) != os.Getpid() {
		t.Errorf("the holder is %d, want %d", Holder(dir), os.Getpid())
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestAKilledHolderLeavesNoLock(t *testing.T) {
	dir := t.TempDir()
	child, _ := hold(t, dir)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, again := Lock(dir) // a second lock in one process is refused as well
	if !errors.Is(again, ErrInUse) {
		t.Errorf("the second Lock = %v", again)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestAnUnreadablePIDIsNotMadeUp(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "x", "-4", "12 34", strings.Repeat("9", 40)} {
		if err := os.WriteFile(filepath.Join(dir, lockName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := Holder(dir); pid != 0 {
			t.Errorf("%q was read as pid %d", text, pid)
		}
	}
	if got := (&InUseError{Dir: "/d"}).Error(); strings.Contains(got, "pid") {
		t.Errorf("it says %q", got)
	}
}

func TestADamagedFileIsSetAsideAndNeverReplacesAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	seen := map[string]string{}
	for _, text := range []string{"one", "two", "three"} { // most likely within one second
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		aside, err := SetAside(path)
		if err != nil || !strings.HasPrefix(aside, path+".corrupt-") {
			t.Fatalf("SetAside = %q, %v", aside, err)
		}
		seen[aside] = text
	}
	if len(seen) != 3 {
		t.Errorf("names were used twice: %v", seen)
	}
	for aside, want := range seen {
		if got, err := os.ReadFile(aside); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", aside, got, err, want)
		}
	}
	if _, err := SetAside(path); err == nil {
		t.Error("a missing file was set aside")
	}
}

func TestErrorsThatMeanAFullDisk(t *testing.T) {
	for _, row := range []struct {
		err  error
		full bool
	}{
		{nil, false},
		{fs.ErrNotExist, false},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.EIO}, false},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("writing: %w", syscall.EDQUOT), true},
		{syscall.EFBIG, true},
		{errors.New("file resize error: truncate /x: " + syscall.EFBIG.Error()), true},
	} {
		got := NoRoom(row.err)
		if errors.Is(got, ErrDiskFull) != row.full || !errors.Is(got, row.err) {
			t.Errorf("NoRoom(%v) = %v", row.err, got)
		}
	}
	if err := NoRoom(errors.New("file resize error: " + syscall.ENOSPC.Error())); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the errno is lost from %v", err)
	}
}

func TestAFileThatOthersCanReachIsNotPrivate(t *testing.T) {
	for _, row := range []struct {
		mode       fs.FileMode
		owner, uid int
		want       string // "" is private
	}{
		{0o600, 1000, 1000, ""},
		{0o400, 1000, 1000, ""},
		{0o600, 0, 1000, ""}, // root can read everything anyway
		{0o640, 1000, 1000, "run `chmod 600 /f`"},
		{0o604, 1000, 1000, "run `chmod 600 /f`"},
		{0o620, 1000, 1000, "run `chmod 600 /f`"},
		{0o600, 1001, 1000, "run `chown 1000 /f`"},
		{0o600, 1001, 0, "run `chown 0 /f`"},
		{0o600 | fs.ModeNamedPipe, 1000, 1000, "not a regular file"},
		{0o700 | fs.ModeDir, 1000, 1000, "not a regular file"},
	} {
		err := private("/f", row.mode, row.owner, row.uid)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v of %d seen by %d: %v, want %q", row.mode, row.owner, row.uid, err, row.want)
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for mode, fine := range map[fs.FileMode]bool{0o600: true, 0o644: false} {
		if err := f.Chmod(mode); err != nil {
			t.Fatal(err)
		}
		if err := Private(f); (err == nil) != fine {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
}
