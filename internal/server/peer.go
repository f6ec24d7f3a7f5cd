package server

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
)

// unixCredentials learn from the kernel who has opened a Unix socket.
type unixCredentials struct{}

// peerInfo is what the kernel says of a process that has opened a Unix socket: its user and group when it did, and its number.
type peerInfo struct {
	credentials.CommonAuthInfo
	uid, gid uint32
	pid      int32
}

func (peerInfo) AuthType() string { return "unix" }

func (unixCredentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("a %T has no peer credentials", c)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var cred *unix.Ucred
	var asking error
	err = raw.Control(func(fd uintptr) {
		cred, asking = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, asking); err != nil {
		return nil, nil, fmt.Errorf("the kernel does not tell who has opened the socket: %w", err)
	}
	// What goes through the kernel of one machine is neither read nor changed by others on the way.
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return c, peerInfo{CommonAuthInfo: level, uid: cred.Uid, gid: cred.Gid, pid: cred.Pid}, nil
}

func (unixCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

func (unixCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

func (c unixCredentials) Clone() credentials.TransportCredentials { return c }

func (unixCredentials) OverrideServerName(string) error { return nil }
