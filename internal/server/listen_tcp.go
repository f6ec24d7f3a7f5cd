package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

// TCP says who may call over TCP. One of ClientCAFile, TokenFile and Insecure must be given.
type TCP struct {
	CertFile, KeyFile string // the server's own certificate and its key, PEM
	ClientCAFile      string // callers must have a certificate of these authorities, PEM
	TokenFile         string // callers must send what is in this file as "authorization: Bearer TOKEN"
	Insecure          bool   // everybody on this machine may call; only on a loopback address
	Reflection        bool   // serve reflection too, as is always done on a Unix socket
}

const (
	minToken = 16
	maxToken = 4096
)

// check refuses, in one line, what would let in somebody who was not let in.
func (t TCP) check(address, host string) error {
	hasTLS := t.CertFile != ""
	var problem string
	switch {
	case hasTLS != (t.KeyFile != ""):
		problem = "TLS needs both a certificate and its key"
	case t.ClientCAFile != "" && !hasTLS:
		problem = "client certificates need TLS: give the server's certificate and key too"
	case t.Insecure && (hasTLS || t.TokenFile != ""):
		problem = "insecure contradicts the certificate or token that is given: choose one"
	case t.Insecure && !loopback(host):
		problem = "insecure is possible on a loopback address only, such as 127.0.0.1: here everybody on the network could use the devices"
	case !t.Insecure && t.ClientCAFile == "" && t.TokenFile == "":
		problem = "over TCP callers must prove who they are: give a client CA (mutual TLS) or a token file, or say insecure on a loopback address; or use unix:///PATH"
	case t.TokenFile != "" && !hasTLS && !loopback(host):
		problem = "a token must not cross the network in the clear: give the server's certificate and key too"
	default:
		return nil
	}
	return fmt.Errorf("%s: %s", address, problem)
}

// bound is a TCP address that was bound, with what its callers must show and are shown.
type bound struct {
	listener    net.Listener
	credentials credentials.TransportCredentials
	certificate *x509.Certificate // nil without TLS
	token       device.Secret
}

// listenTCP binds a checked address. Its credentials know what the callers must show.
func listenTCP(address string, t TCP, log *slog.Logger) (bound, error) {
	host, err := tcpHost(address)
	if err != nil {
		return bound{}, err
	}
	if err := t.check(address, host); err != nil {
		return bound{}, err
	}
	b := bound{credentials: insecure.NewCredentials()}
	if t.CertFile != "" {
		if b.credentials, b.certificate, err = t.tls(log); err != nil {
			return bound{}, err
		}
	}
	if t.TokenFile != "" {
		if b.token, err = readToken(t.TokenFile); err != nil {
			return bound{}, err
		}
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return bound{}, fmt.Errorf("cannot listen: %w", err)
	}
	// "localhost" is whatever the resolver makes of it.
	if got, _, err := net.SplitHostPort(l.Addr().String()); err != nil || loopback(host) && !loopback(got) {
		wrong := fmt.Errorf("%s: %s is %s here, which is no loopback address", address, host, got)
		return bound{}, errors.Join(wrong, l.Close())
	}
	b.listener = l
	return b, nil
}

func (t TCP) tls(log *slog.Logger) (credentials.TransportCredentials, *x509.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("the server's certificate and key cannot be used: %w", err)
	}
	// Not refused: where secrets are mounted for a group, the key's mode is not the user's to choose.
	if info, err := os.Stat(t.KeyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		log.Warn("every user of this machine can read the server's key", "file", t.KeyFile, "mode", info.Mode().Perm())
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.ClientCAFile != "" {
		pem, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("the client CA cannot be read: %w", err)
		}
		roots, err := trust.Parse(pem)
		if err != nil {
			return nil, nil, fmt.Errorf("the client CA in %s cannot be used: %w", t.ClientCAFile, err)
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		for _, root := range roots {
			config.ClientCAs.AddCert(root)
		}
	}
	return credentials.NewTLS(config), cert.Leaf, nil
}

// readToken reads the token from a file that nobody else can read.
func readToken(path string) (device.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return device.Secret{}, fmt.Errorf("the token cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := statedir.Private(f); err != nil {
		return device.Secret{}, fmt.Errorf("the token cannot be used: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxToken+2))
	if err != nil {
		return device.Secret{}, fmt.Errorf("the token cannot be read: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if len(token) < minToken || len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return device.Secret{}, fmt.Errorf("the token in %s must be one word of %d to %d printable ASCII characters; `openssl rand -hex 32` makes a good one", path, minToken, maxToken)
	}
	return device.NewSecret(token), nil
}
