package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Failure is why an attempt failed or a link ended: a cause for programs and a detail for people.
type Failure struct {
	Cause  event.Cause
	Detail string
	Code   byte  // of CONNACK, when the platform refused
	Err    error // what lies beneath; may be nil
	// Registering: the refusal was of a registration, where the codes mean other things.
	Registering bool
	// mayHaveRegistered: the request had gone out, so the platform may have given a credential out.
	mayHaveRegistered bool
	// NextAttempt is when the sidecar tries again by itself; zero when it does not.
	NextAttempt time.Time
	// goodbye: the server ended the stream in an orderly way, as it does when it kicks a device.
	goodbye bool
}

func (f *Failure) Error() string {
	return f.Detail
}

func (f *Failure) Unwrap() error { return f.Err }

// Refused reports whether the platform answered with a CONNACK code, rather than the network failing.
func (f *Failure) Refused() bool { return f.Code != 0 }

// refusal is the Failure for a CONNACK code other than 0.
func refusal(code byte, registering bool) *Failure {
	m := platform.Connack(code, registering)
	return &Failure{
		Cause: event.CauseOfConnack(code), Code: code, Registering: registering,
		Detail: fmt.Sprintf("the platform refused with CONNACK %d: %s; %s", code, m.Meaning, m.Advice),
	}
}

// errCut stands for an end of the TCP stream beneath TLS: the peer, or someone between, ended it without TLS's farewell.
var errCut = errors.New("the connection was cut: the stream ended without TLS's close_notify")

// dialFailure says why host:port could not be reached, TLS included.
func dialFailure(err error, host, address string) *Failure {
	f := &Failure{Err: err}
	var (
		dns       *net.DNSError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &dns):
		f.Cause, f.Detail = event.CauseDNS, fmt.Sprintf("the host name %q cannot be resolved: %s; check the name and this machine's DNS, or give dial_address", host, dns.Err)
	case errors.As(err, &name):
		f.Cause = event.CauseTLSNameMismatch
		f.Detail = fmt.Sprintf("the server's certificate is not for %q: %s", host, describe(name.Certificate))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.Cause = event.CauseTLSExpired
		f.Detail = fmt.Sprintf("a certificate of %q is out of its time: %s; check the server and this machine's clock", host, describe(invalid.Cert))
	case errors.As(err, &authority):
		f.Cause = event.CauseTLSUntrusted
		f.Detail = fmt.Sprintf("the certificate of %q ends in no trusted root: %s; if the server is yours, give its CA", host, describe(leafOf(err, authority.Cert)))
	case errors.As(err, &verify):
		f.Cause = event.CauseTLSUntrusted
		f.Detail = fmt.Sprintf("the certificate of %q cannot be verified: %v: %s", host, verify.Err, describe(leafOf(err, nil)))
	case errors.As(err, &record):
		f.Cause, f.Detail = event.CauseTLSOther, fmt.Sprintf("%s does not speak TLS; a port for plain TCP? %s", address, record.Msg)
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Cause, f.Detail = event.CauseDialRefused, "nobody listens on "+address
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		f.Cause, f.Detail = event.CauseDialTimeout, address+" did not answer in time; a firewall, or the wrong address?"
	case isTLS(err):
		f.Cause, f.Detail = event.CauseTLSOther, fmt.Sprintf("the TLS handshake with %s failed: %v", address, err)
	default:
		f.Cause, f.Detail = event.CauseNetwork, fmt.Sprintf("%s cannot be reached: %v", address, err)
	}
	return f
}

// handshakeFailure is dialFailure for a connection that was up before TLS began: silence and an end of the stream are TLS's failures
// too.
func handshakeFailure(err error, host, address string) *Failure {
	f := dialFailure(err, host, address)
	switch f.Cause {
	case event.CauseNetwork:
		f.Cause, f.Detail = event.CauseTLSOther, fmt.Sprintf("the TLS handshake with %s failed; a port for plain TCP? %v", address, err)
	case event.CauseDialTimeout:
		f.Cause, f.Detail = event.CauseTLSOther, address+" accepted the connection and did not answer the TLS handshake in time; a port for plain TCP?"
	default: // it says what it is
	}
	return f
}

// streamFailure says why a connection that was up ended. err is what its Read or Write returned.
func streamFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	f := &Failure{Cause: event.CauseNetwork, Err: err}
	switch {
	case errors.Is(err, errCut):
		f.Cause, f.Detail = event.CauseClosedByServer, errCut.Error()
	case errors.Is(err, io.EOF):
		f.Cause, f.Detail, f.goodbye = event.CauseClosedByServer, "the server closed the connection; MQTT 3.1.1 cannot say why", true
	case errors.Is(err, syscall.ECONNRESET):
		f.Detail = "the connection was reset"
	case isTimeout(err):
		f.Detail = "the network stopped delivering: " + err.Error()
	default:
		f.Detail = "the network failed: " + err.Error()
	}
	return f
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func isTLS(err error) bool {
	_, alert := errors.AsType[tls.AlertError](err)
	return alert || strings.Contains(err.Error(), "tls: ")
}

func leafOf(err error, fallback *x509.Certificate) *x509.Certificate {
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(verify.UnverifiedCertificates) > 0 {
		return verify.UnverifiedCertificates[0]
	}
	return fallback
}

// describe tells who a certificate is for, by whom and until when.
func describe(cert *x509.Certificate) string {
	if cert == nil {
		return "it sent no certificate"
	}
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	carried := "no names"
	if len(names) > 0 {
		carried = strings.Join(names, ", ")
	}
	return fmt.Sprintf("subject %q, issuer %q, valid until %s, for %s",
		cert.Subject, cert.Issuer, cert.NotAfter.UTC().Format(time.RFC3339), carried)
}
