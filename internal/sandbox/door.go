package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// recordHandshake is the first byte of TLS.
const recordHandshake = 0x16

// door is how devices come in on a port.
type door struct {
	tls     *tls.Config
	tlsOnly bool
}

// sniffedConn is a connection whose first byte was looked at.
type sniffedConn struct {
	net.Conn
	first [1]byte
	read  bool // whether the first byte was read again
}

func (s *sniffedConn) Read(p []byte) (int, error) {
	if !s.read && len(p) > 0 {
		s.read = true
		return copy(p, s.first[:]), nil
	}
	return s.Conn.Read(p)
}

// sniff looks at the first byte of a connection, and returns a connection that has it still.
func sniff(conn net.Conn) (*sniffedConn, byte, error) {
	s := &sniffedConn{Conn: conn}
	for {
		n, err := conn.Read(s.first[:])
		if n > 0 {
			return s, s.first[0], nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// listen opens a port. Other machines get in only when the address says so in so many words.
func listen(what, address string, log *slog.Logger) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the sandbox cannot listen for %s on %s: %w; give another address", what, address, err)
	}
	if !isLoopback(l.Addr().String()) {
		log.Warn("other machines can reach this port of the sandbox, which is made for development", "port", what, "address", l.Addr().String())
	}
	return l, nil
}

func isLoopback(hostPort string) bool {
	address, err := netip.ParseAddrPort(hostPort)
	return err == nil && address.Addr().Unmap().IsLoopback()
}

const unixPrefix = "unix://"

// listenControl opens the port of the console: a Unix socket for the user alone, or a port that other machines cannot reach.
func listenControl(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixPrefix)
	if isUnix {
		return listenUnix(path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("the control address %q must be unix:///PATH or HOST:PORT", address)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the control address %q must be a loopback one, such as 127.0.0.1: whoever reaches it commands the sandbox", address)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the sandbox cannot listen for control on %s: %w; give another address", address, err)
	}
	if !isLoopback(l.Addr().String()) { // a hosts file may say anything
		_ = l.Close()
		return nil, fmt.Errorf("the control address %q must be a loopback one, and is %s", address, l.Addr())
	}
	return l, nil
}

// maxSocketPath is what a Unix socket's name may be long on Linux.
const maxSocketPath = 107

func listenUnix(path string) (net.Listener, error) {
	if !strings.HasPrefix(path, "/") || len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of a Unix socket must begin with / and have at most %d bytes: %s", maxSocketPath, path)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("the sandbox cannot listen for control on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("the control socket %s cannot be closed to other users: %w", path, err)
	}
	return l, nil
}

// removeStale removes a socket that a sandbox left behind. One that somebody answers on, and what is no socket, stay.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there already and is no socket: remove it or give another control address", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("another process listens on %s: give another control address", path)
	}
	return os.Remove(path)
}

// accept serves every connection of a listener until ctx ends, and returns when the last has ended.
func accept(ctx context.Context, l net.Listener, log *slog.Logger, serve func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			connections.Go(func() { serve(conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // too many open files, or a peer that left at once
			log.Warn("a connection could not be accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}
