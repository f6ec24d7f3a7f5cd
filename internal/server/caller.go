package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// CallerKind is how a caller proved who it is.
type CallerKind int

// The kinds of callers.
const (
	UnixCaller        CallerKind = iota + 1 // by the kernel's word about a Unix socket: UID, GID, PID
	CertificateCaller                       // by a client certificate: Name
	TokenCaller                             // by the token
	LoopbackCaller                          // not at all: an insecure loopback address
)

// Caller is who makes a call. It is comparable.
type Caller struct {
	Kind     CallerKind
	UID, GID uint32
	PID      int32 // 0 when the process is outside of our view, as in another container
	Name     string
}

func (c Caller) String() string {
	switch c.Kind {
	case UnixCaller:
		return fmt.Sprintf("uid %d (gid %d, pid %d)", c.UID, c.GID, c.PID)
	case CertificateCaller:
		return fmt.Sprintf("certificate %q", c.Name)
	case TokenCaller:
		return "the holder of the token"
	case LoopbackCaller:
		return "a caller on loopback"
	}
	return "an unknown caller"
}

// who is the caller without what differs between two processes of one user: limits count by it.
func (c Caller) who() Caller {
	c.GID, c.PID = 0, 0
	return c
}

type callerKey struct{}

// CallerFrom is who makes the call that ctx belongs to; the zero Caller outside of a call.
func CallerFrom(ctx context.Context) Caller {
	who, _ := ctx.Value(callerKey{}).(identity)
	return who.caller
}

// identify tells who makes a call. Where a token is needed and the right one is not there, the error is errCallerUnknown.
func identify(ctx context.Context, token device.Secret) (Caller, error) {
	var caller Caller
	if p, ok := peer.FromContext(ctx); ok {
		switch info := p.AuthInfo.(type) {
		case peerInfo:
			caller = Caller{Kind: UnixCaller, UID: info.uid, GID: info.gid, PID: info.pid}
		case credentials.TLSInfo:
			if chains := info.State.VerifiedChains; len(chains) > 0 {
				caller = Caller{Kind: CertificateCaller, Name: certificateName(chains[0][0])}
			}
		}
	}
	switch {
	case !token.IsZero() && !bearer(ctx).Equal(token):
		return caller, errCallerUnknown
	case caller.Kind != 0:
	case token.IsZero():
		caller.Kind = LoopbackCaller
	default:
		caller.Kind = TokenCaller
	}
	return caller, nil
}

// bearer is the token that came with a call.
func bearer(ctx context.Context) device.Secret {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return device.Secret{}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return device.Secret{}
	}
	return device.NewSecret(strings.TrimSpace(token))
}

// certificateName is the common name, or else the first name that a certificate carries.
func certificateName(cert *x509.Certificate) string {
	switch {
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0]
	}
	return ""
}
