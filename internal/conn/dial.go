package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

// tlsSessions is how many servers' TLS sessions are kept to be resumed: reconnecting then costs neither side a signature.
const tlsSessions = 64

// dialer reaches servers: DNS, TCP and TLS are ours, so that they can be cancelled, and so that failures have causes.
type dialer struct {
	extraCA []*x509.Certificate // of the whole sidecar, beside those of a device's own settings
	now     func() time.Time

	mu      sync.Mutex
	configs map[TLS]*tls.Config         // one for each way of trusting: TLS sessions must not cross from one to another
	hosts   map[trustedHost]*tls.Config // the same with a server's name, of which there are few: one for each product at most
}

func newDialer(extraCA []*x509.Certificate) *dialer {
	return &dialer{extraCA: extraCA, now: time.Now, configs: map[TLS]*tls.Config{}, hosts: map[trustedHost]*tls.Config{}}
}

// greeting is what a server showed of itself.
type greeting struct {
	warnings     []event.Warning
	certificates Certificates
}

// dial connects to the target until ctx ends. Errors are *Failure, or a *platform.FieldError for a target that validate refuses.
func (d *dialer) dial(ctx context.Context, t Target, id device.ID) (net.Conn, greeting, error) {
	host, port, err := t.Endpoint.Resolve(id.ProductKey)
	if err != nil {
		return nil, greeting{}, err
	}
	address, err := t.dialTarget(host, port)
	if err != nil {
		return nil, greeting{}, err
	}
	step := trace.Step(ctx, trace.StepDial, address)
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		f := dialFailure(err, host, address)
		step.End(f.Cause.String(), f)
		return nil, greeting{}, f
	}
	step.End("", nil)
	if t.TLS.PlainTCP {
		return raw, greeting{warnings: []event.Warning{{
			Code:   event.WarnPlainTCP,
			Detail: "the link to " + address + " is plain TCP: signature and messages are readable on the way",
		}}}, nil
	}
	config, err := d.configFor(t.TLS, host)
	if err != nil {
		_ = raw.Close()
		return nil, greeting{}, &Failure{Cause: event.CauseTLSOther, Detail: err.Error(), Err: err}
	}
	secure := tls.Client(&intake{Conn: nameCuts{raw}}, config)
	step = trace.Step(ctx, trace.StepTLS, address)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		f := handshakeFailure(err, host, address)
		step.End(f.Cause.String(), f)
		return nil, greeting{}, f
	}
	step.End("", nil)
	return secure, d.greeting(t, secure.ConnectionState(), host, config.RootCAs), nil
}

// trustedHost is a server and whom to trust about it.
type trustedHost struct {
	trust TLS
	name  string
}

// configFor is the tls.Config for a server, which all devices share that log in there.
func (d *dialer) configFor(t TLS, name string) (*tls.Config, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, known := d.hosts[trustedHost{t, name}]; known {
		return c, nil
	}
	c, err := d.config(t)
	if err != nil {
		return nil, err
	}
	c = c.Clone() // shares the session cache
	c.ServerName = name
	d.hosts[trustedHost{t, name}] = c
	return c, nil
}

// config is the tls.Config for a way of trusting. mu is held.
func (d *dialer) config(t TLS) (*tls.Config, error) {
	if c, known := d.configs[t]; known {
		return c, nil
	}
	extra := d.extraCA
	if t.CAPEM != "" {
		own, err := trust.Parse([]byte(t.CAPEM))
		if err != nil {
			return nil, err
		}
		extra = append(append([]*x509.Certificate(nil), extra...), own...)
	}
	pool, err := trust.Pool(t.SystemRoots, extra)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions)}
	if t.SkipHostnameVerification {
		// The package's own verification covers name and chain together, so the chain alone is verified here.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := verifyChain(state, pool)
			return err
		}
	}
	d.configs[t] = c
	return c, nil
}

// verifyChain verifies everything but the name.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool) ([][]*x509.Certificate, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, errors.New("tls: the server sent no certificate")
	}
	chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates(state)})
	if err != nil {
		return nil, &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return chains, nil
}

func intermediates(state tls.ConnectionState) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		pool.AddCert(cert)
	}
	return pool
}

// greeting says until when the certificates of a TLS connection hold, and what should be looked at although it works.
func (d *dialer) greeting(t Target, state tls.ConnectionState, host string, roots *x509.CertPool) greeting {
	g := greeting{certificates: Certificates{Leaf: state.PeerCertificates[0].NotAfter}}
	chains := state.VerifiedChains
	if t.TLS.SkipHostnameVerification {
		g.warnings = append(g.warnings, event.Warning{
			Code:   event.WarnHostnameNotVerified,
			Detail: "the certificate's name was not verified: " + describe(state.PeerCertificates[0]),
		})
		chains, _ = verifyChain(state, roots) // again: TLS keeps only chains that it verified itself
	}
	if root := longestRoot(chains); root != nil {
		g.certificates.Root = root.NotAfter
		if w := trust.Warning(root, d.now()); w != "" {
			g.warnings = append(g.warnings, event.Warning{Code: event.WarnRootExpires, Detail: host + ": " + w})
		}
	}
	return g
}

// longestRoot is the root that holds longest of those by which a server can be trusted; nil when there is none.
func longestRoot(chains [][]*x509.Certificate) (root *x509.Certificate) {
	for _, chain := range chains {
		if r := chain[len(chain)-1]; root == nil || r.NotAfter.After(root.NotAfter) {
			root = r
		}
	}
	return root
}

// nameCuts turns the end of the TCP stream into errCut, so that an io.EOF above TLS means that the server took its leave
// (close_notify), as one does that kicks a device. The two are the same io.EOF otherwise.
type nameCuts struct{ net.Conn }

func (c nameCuts) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return n, err
}
