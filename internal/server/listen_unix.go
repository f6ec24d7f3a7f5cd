package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocketMode lets the owner and the group of the socket call, and nobody else.
const DefaultSocketMode fs.FileMode = 0o660

// Socket says who may open a Unix socket.
type Socket struct {
	Mode  fs.FileMode // 0 is DefaultSocketMode
	Owner string      // a user's name or number; "" is the user of this process
	Group string      // a group's name or number; "" is the group of this process
}

const (
	// socketBuffer is asked of the kernel for each connection; it gives as much as its own limits permit.
	socketBuffer = 4 << 20
	probeTimeout = time.Second
	lockTimeout  = 5 * time.Second
)

// unixListener is a socket that nobody could open before its mode and owner were set, and that is removed when it is closed
// unless another has taken its place.
type unixListener struct {
	*net.UnixListener
	path  string
	file  fs.FileInfo
	close func() error
}

func listenUnix(path string, s Socket) (net.Listener, error) {
	if s.Mode == 0 {
		s.Mode = DefaultSocketMode
	}
	if s.Mode&^fs.ModePerm != 0 || s.Mode&0o600 != 0o600 {
		return nil, fmt.Errorf("%#o cannot be the mode of a socket: it must be 0600 to 0777, and let its owner read and write", uint32(s.Mode))
	}
	uid, gid, err := s.ids()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := makeSocketDir(dir); err != nil {
		return nil, err
	}
	// Two sidecars that start at once could both find the same stale socket: then the second would remove the first's.
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	bound, err := bindPrivate(path)
	if err != nil {
		return nil, err
	}
	l := &unixListener{UnixListener: bound, path: path}
	l.close = sync.OnceValue(l.removeAndClose)
	if l.file, err = os.Lstat(path); err == nil {
		err = openUp(path, l.file, uid, gid, s.Mode)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// bindPrivate makes a socket that only this process's user can open. The kernel gives a socket's file the mode that the socket
// itself has when it is bound, so there is no moment at which it is wider, and no need of umask, which all threads share.
func bindPrivate(path string) (*net.UnixListener, error) {
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket: %w", err)
	}
	bound, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T is no Unix socket", l), l.Close())
	}
	bound.SetUnlinkOnClose(false)
	return bound, nil
}

func openUp(path string, file fs.FileInfo, uid, gid int, mode fs.FileMode) error {
	if file.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the file system of %s does not keep the modes of sockets: choose a path on another", path)
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return fmt.Errorf("cannot give the socket to its owner and group: %w; run as root, or name a group that this user is in", err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("cannot set the socket's mode: %w", err)
	}
	return nil
}

// ids are the numbers of owner and group; -1 leaves them as they are.
func (s Socket) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if s.Owner != "" {
		if uid, err = userID(s.Owner); err != nil {
			return 0, 0, fmt.Errorf("the socket's owner: %w", err)
		}
	}
	if s.Group != "" {
		if gid, err = groupID(s.Group); err != nil {
			return 0, 0, fmt.Errorf("the socket's group: %w", err)
		}
	}
	return uid, gid, nil
}

func userID(name string) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q on this machine", name)
	}
	return strconv.Atoi(u.Uid)
}

func groupID(name string) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q on this machine", name)
	}
	return strconv.Atoi(g.Gid)
}

// socketDirMode of directories that are made: who may call is settled by the socket's mode, and callers must reach it.
const socketDirMode fs.FileMode = 0o755

// makeSocketDir makes what is missing of dir.
// It refuses a directory in which everybody could put another socket in our socket's place.
func makeSocketDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeSocketDir(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(dir, socketDirMode); errors.Is(err, fs.ErrExist) {
			return makeSocketDir(dir) // another has just made it
		} else if err != nil {
			return fmt.Errorf("cannot make the socket's directory: %w", err)
		}
		return os.Chmod(dir, socketDirMode) // whatever the umask
	case err != nil:
		return fmt.Errorf("cannot use the socket's directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory, so no socket can be in it", dir)
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("everybody can replace files in %s, the socket too (mode %#o): run `chmod o-w %s` or choose another path", dir, info.Mode().Perm(), dir)
	}
	return nil
}

// lockDir keeps other sidecars from starting in the same directory at the same moment.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use the socket's directory: %w", err)
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for late := time.After(lockTimeout); ; {
		if err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { _ = d.Close() }, nil
		}
		select {
		case <-again.C:
		case <-late:
			err = fmt.Errorf("%s cannot be locked (%w): another program holds it; choose another directory for the socket", dir, err)
			return nil, errors.Join(err, d.Close())
		}
	}
}

// removeStale removes a socket that nobody answers on, left behind by a process that was killed. It removes nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot use the socket's path: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: move it away or choose another path", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s is in use: another program answers on it; stop it or choose another path", path), c.Close())
	case errors.Is(err, syscall.ENOENT):
		return nil // it has just gone
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s seems to be in use (%w): stop what uses it, or remove it if nothing does", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove the stale socket: %w", err)
	}
	return nil
}

// Accept gives the connection large buffers: a burst of events then leaves in few system calls.
func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	return c, nil
}

// Close may be called more than once; gRPC does.
func (l *unixListener) Close() error { return l.close() }

// removeAndClose looks before it closes: as long as the socket is open, its file's inode cannot be another's.
func (l *unixListener) removeAndClose() error {
	var removing error
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
		removing = os.Remove(l.path)
	}
	return errors.Join(removing, l.UnixListener.Close())
}
