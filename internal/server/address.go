package server

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// maxSocketPath is what the kernel's sockaddr_un holds, without the zero byte at its end.
const maxSocketPath = 107

// socketPath is the path in "unix:///PATH". It reports false for other addresses, and an error for one that is nearly right.
func socketPath(address string) (string, bool, error) {
	rest, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		if strings.HasPrefix(address, "unix-abstract:") {
			return "", false, fmt.Errorf("%s: abstract sockets have no owner and no mode, so everybody on this machine could call: use unix:///PATH", address)
		}
		return "", false, nil
	}
	path, _ := strings.CutPrefix(rest, "//")
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", false, fmt.Errorf("%s: the path of a socket must be absolute: write unix:///PATH, with three slashes", address)
	case len(path) > maxSocketPath:
		return "", false, fmt.Errorf("%s: the path has %d bytes and a socket's may have %d: choose a shorter one", address, len(path), maxSocketPath)
	case strings.HasSuffix(path, "/"), strings.ContainsRune(path, 0):
		return "", false, fmt.Errorf("%s: the path must name a file", address)
	}
	return path, true, nil
}

// tcpHost is the host in "HOST:PORT".
func tcpHost(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || strings.Contains(address, "://") {
		return "", fmt.Errorf("%q is not an address: use unix:///PATH, or HOST:PORT for TCP", address)
	}
	return host, nil
}

// loopback reports whether a host can be reached from this machine only.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
