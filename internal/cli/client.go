package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

// defaultAddress is where servers listen and clients look unless told otherwise.
const defaultAddress = "unix:///run/linkkit-sidecar/sidecar.sock"

// clientFlags are those of every command that asks a running sidecar.
type clientFlags struct {
	address    string
	tokenFile  string
	serverCA   string
	clientCert string
	clientKey  string
	timeout    time.Duration // 0 is for ever
}

// clientCommand makes a command that asks a running sidecar.
func (r *run) clientCommand(cmd *cobra.Command, timeout time.Duration, work func(ctx context.Context, c *client) error) (*cobra.Command, *clientFlags) {
	o := &clientFlags{}
	cmd.RunE = r.operation(func(ctx context.Context) error { return r.ask(ctx, o, work) })
	r.outputFlag(cmd)
	if timeout > 0 {
		cmd.Flags().Var(config.Seconds(&o.timeout, timeout), "timeout", "give up after so many `seconds`; 0 waits for ever")
	}
	return cmd, o
}

// connectionFlags say how to reach the sidecar. They come last in a command's help.
func (o *clientFlags) connectionFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.address, "address", defaultAddress, "`address` of the sidecar: unix:///PATH, or HOST:PORT for TCP (TLS, except on loopback)")
	config.Also(fs, "address", "listen") // so that a client can read the server's file
	fs.StringVar(&o.tokenFile, "token-file", "", "`file` with the token that a sidecar on TCP asks for")
	fs.StringVar(&o.serverCA, "server-ca-file", "", "PEM `file` to verify a sidecar on TCP by; default: the system's roots")
	fs.StringVar(&o.clientCert, "client-cert-file", "", "PEM `file` with the certificate to show to a sidecar on TCP")
	fs.StringVar(&o.clientKey, "client-key-file", "", "PEM `file` with its key")
	for _, name := range []string{"server-ca-file", "client-cert-file", "client-key-file"} {
		_ = cmd.MarkFlagFilename(name)
	}
	cmd.MarkFlagsRequiredTogether("client-cert-file", "client-key-file")
}

// client is a connection to a sidecar.
type client struct {
	pb.ConnectivityServiceClient
	conn    *grpc.ClientConn
	address string
	dialled atomic.Pointer[error] // how the last attempt to reach it failed
}

// ask runs the work of a client command with a connection and its deadline, and makes readable what failed.
func (r *run) ask(ctx context.Context, o *clientFlags, work func(context.Context, *client) error) error {
	c, err := r.dial(o)
	if err != nil {
		return usage(err)
	}
	defer func() { _ = c.conn.Close() }()
	call, cancel := ctx, context.CancelFunc(func() {})
	if o.timeout > 0 {
		call, cancel = context.WithTimeout(ctx, o.timeout)
	}
	defer cancel()
	err = work(call, c)
	if err != nil && ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	return c.failure(err)
}

// dial makes a client. It connects with the first call only.
func (r *run) dial(o *clientFlags) (*client, error) {
	c := &client{address: o.address}
	path, isUnix := strings.CutPrefix(o.address, "unix:")
	path = strings.TrimPrefix(path, "//")
	network, target := "tcp", o.address
	creds := insecure.NewCredentials()
	options := []grpc.DialOption{grpc.WithUserAgent("linkkit-sidecar/" + r.build().Version)}
	if isUnix {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("--address %s: the path must be absolute, as in %s", quoted(o.address), defaultAddress)
		}
		network, target = "unix", path
		options = append(options, grpc.WithAuthority("localhost")) // the host that a socket has
	} else {
		host, _, err := net.SplitHostPort(o.address)
		if err != nil || strings.Contains(o.address, "/") {
			return nil, fmt.Errorf("--address %s: use unix:///PATH, or HOST:PORT", quoted(o.address))
		}
		if creds, err = o.transport(host); err != nil {
			return nil, err
		}
	}
	if o.tokenFile != "" {
		token, err := r.secrets.Read(o.tokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer{token}))
	}
	options = append(options, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, target)
		c.dialled.Store(&err)
		return conn, err
	}))
	var err error
	c.conn, err = grpc.NewClient("passthrough:///"+target, options...)
	c.ConnectivityServiceClient = pb.NewConnectivityServiceClient(c.conn)
	return c, err
}

// transport is TLS, except for a plain connection to this very machine.
func (o *clientFlags) transport(host string) (credentials.TransportCredentials, error) {
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && ip.IsLoopback()
	if local && o.serverCA == "" && o.clientCert == "" {
		return insecure.NewCredentials(), nil
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.serverCA != "" {
		pem, err := os.ReadFile(o.serverCA)
		if err != nil {
			return nil, fmt.Errorf("--server-ca-file: %w", err)
		}
		roots, err := trust.Parse(pem)
		if err != nil {
			return nil, fmt.Errorf("--server-ca-file %s: %w", o.serverCA, err)
		}
		settings.RootCAs = x509.NewCertPool()
		for _, root := range roots {
			settings.RootCAs.AddCert(root)
		}
	}
	if o.clientCert != "" {
		pair, err := tls.LoadX509KeyPair(o.clientCert, o.clientKey)
		if err != nil {
			return nil, fmt.Errorf("--client-cert-file and --client-key-file: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(settings), nil
}

// bearer sends a token with each call. Over a network it only ever goes through TLS: dial sees to that.
type bearer struct{ token device.Secret }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token.Reveal()}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// dialError is how the last attempt to reach the sidecar failed; nil when it did not.
func (c *client) dialError() error {
	return *cmp.Or(c.dialled.Load(), new(error))
}

// failure is the error of a call as an exitError that people can read.
func (c *client) failure(err error) error {
	if _, done := errors.AsType[*exitError](err); done || err == nil {
		return err
	}
	f := failureOf(err)
	if f.status == nil {
		return err
	}
	if f.code() == exitUnreachable && f.Reason == "" {
		f.Message = unreachable(c.address, c.dialError(), f.Message)
	}
	return &exitError{f.code(), f}
}
