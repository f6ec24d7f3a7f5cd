package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir has the test's name in it, too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// staleSocket leaves a socket behind as a killed process does.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func listening(t *testing.T, path string, s Socket) net.Listener {
	t.Helper()
	l, err := listenUnix(path, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestTheSocketHasItsModeWhateverTheUmask(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	for _, umask := range []int{0, 0o077} {
		unix.Umask(umask)
		for want, mode := range map[fs.FileMode]fs.FileMode{0o660: 0, 0o600: 0o600, 0o666: 0o666} {
			path := filepath.Join(socketDir(t), "made", "too", "s.sock")
			listening(t, path, Socket{Mode: mode})
			if info, err := os.Lstat(path); err != nil || info.Mode() != want|fs.ModeSocket {
				t.Errorf("umask %#o: %v, %v, want %v", umask, info.Mode(), err, want)
			}
			if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("umask %#o: the directory is %v, %v", umask, info.Mode(), err)
			}
		}
	}
}

func TestTheSocketIsClosedToOthersBeforeItsModeIsSet(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := filepath.Join(socketDir(t), "s.sock")
	l, err := bindPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestTheSocketIsGivenToOwnerAndGroup(t *testing.T) {
	owner, group := os.Geteuid(), os.Getegid()
	if owner == 0 {
		owner, group = 12345, 23456 // only root can give files away
	}
	path := filepath.Join(socketDir(t), "s.sock")
	listening(t, path, Socket{Owner: fmt.Sprint(owner), Group: fmt.Sprint(group)})
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != owner || int(stat.Gid) != group || info.Mode().Perm() != 0o660 {
		t.Errorf("uid %d, gid %d, mode %v", stat.Uid, stat.Gid, info.Mode())
	}
	if uid, gid, err := (Socket{Owner: "root", Group: "root"}).ids(); uid != 0 || gid != 0 || err != nil {
		t.Errorf("root is %d and %d, %v", uid, gid, err)
	}
}

func TestAWrongModeOwnerOrGroupIsRefusedBeforeAnythingIsMade(t *testing.T) {
	for _, s := range []Socket{{Mode: 0o400}, {Mode: 0o1660}, {Owner: "no-such-user"}, {Group: "no-such-group"}, {Owner: "-1"}} {
		path := filepath.Join(socketDir(t), "new", "s.sock")
		if l, err := listenUnix(path, s); err == nil {
			_ = l.Close()
			t.Errorf("%+v was taken", s)
		}
		if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(socketDir(t), "s.sock")
	staleSocket(t, path)
	listening(t, path, Socket{})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestALiveSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(socketDir(t), "s.sock")
	listening(t, path, Socket{})
	if _, err := listenUnix(path, Socket{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the second got %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first no longer answers: %v", err)
	}
	_ = c.Close()
}

func TestWhatIsNotASocketIsNeverRemoved(t *testing.T) {
	dir := socketDir(t)
	target := filepath.Join(dir, "stale.sock")
	staleSocket(t, target)
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "datagram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	for name, create := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink(target, path) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"datagram":  func(string) error { return nil },
	} {
		path := filepath.Join(dir, name)
		if err := create(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := listenUnix(path, Socket{}); err == nil {
			_ = l.Close()
			t.Errorf("a %s was replaced", name)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the %s is gone: %v", name, err)
		}
	}
}

func TestADirectoryInWhichTheSocketCouldBeReplacedIsRefused(t *testing.T) {
	dir := socketDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.sock")
	if _, err := listenUnix(path, Socket{}); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Fatalf("%v", err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil { // as /tmp is
		t.Fatal(err)
	}
	listening(t, path, Socket{})
}

func TestOneOfManyThatStartAtOnceGetsTheSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s.sock")
	for range 20 {
		_ = os.Remove(path)
		staleSocket(t, path)
		var (
			mu      sync.Mutex
			winners []net.Listener
			all     sync.WaitGroup
		)
		for range 8 {
			all.Go(func() {
				l, err := listenUnix(path, Socket{})
				if err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				winners = append(winners, l)
			})
		}
		all.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d got it", len(winners))
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		_ = winners[0].Close()
	}
}

func TestTheSocketIsRemovedAtTheEndUnlessItIsAnothers(t *testing.T) {
	path := filepath.Join(socketDir(t), "s.sock")
	l := listening(t, path, Socket{})
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}

	l = listening(t, path, Socket{})
	if err := os.Remove(path); err != nil { // somebody removes it by hand and starts another
		t.Fatal(err)
	}
	listening(t, path, Socket{})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the other's socket is gone: %v", err)
	}
	_ = c.Close()
}

func TestAddressesThatCannotBeSaySoInOneLine(t *testing.T) {
	log := newLog(t)
	for address, says := range map[string]string{
		"unix:///" + strings.Repeat("x", 107): "107",
		"unix:relative.sock":                  "unix:///PATH",
		"unix://relative.sock":                "unix:///PATH",
		"unix:///":                            "must name a file",
		"unix-abstract:x":                     "abstract",
		"/run/x.sock":                         "unix:///PATH",
		"tcp://127.0.0.1:1":                   "HOST:PORT",
		"localhost":                           "HOST:PORT",
		"":                                    "HOST:PORT",
	} {
		s, err := New(Options{Address: address, Devices: newFakeDevices(log), Events: log})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", address, err)
		}
	}
	path := "/" + strings.Repeat("x", 106)
	if got, ok, err := socketPath("unix://" + path); got != path || !ok || err != nil {
		t.Errorf("107 bytes: %v", err)
	}
}

func TestAServerThatIsNotRunGivesItsAddressUp(t *testing.T) {
	log := newLog(t)
	for _, o := range []Options{
		{Address: "unix://" + filepath.Join(socketDir(t), "s.sock")},
		{Address: "127.0.0.1:0", TCP: TCP{Insecure: true}},
	} {
		o.Devices, o.Events = newFakeDevices(log), log
		for range 2 {
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			o.Address = s.Address()
		}
	}
}
