package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// authority makes certificates and writes them to files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key, a.file = template, a.newKey(), filepath.Join(a.dir, "ca.pem")
	a.cert = a.sign(template, a.key, a.file)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey, file string) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(file, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) write(file, kind string, der []byte) {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate for localhost as a server, and for name as a client.
func (a *authority) issue(name string) (certFile, keyFile string) {
	a.t.Helper()
	key := a.newKey()
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key, certFile)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(keyFile, "EC PRIVATE KEY", der)
	return certFile, keyFile
}

// trusting is a client that trusts the authority, with a certificate of its own when from is given.
func (a *authority) trusting(from *authority, name string) grpc.DialOption {
	a.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.cert)
	if from != nil {
		cert, err := tls.LoadX509KeyPair(from.issue(name))
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(config))
}

func tokenFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// bearerToken sends a token with each call, also where grpc's own would refuse to.
type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": string(b)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return false }

func list(t *testing.T, c pb.ConnectivityServiceClient) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := c.ListDevices(ctx, &pb.ListDevicesRequest{})
	return err
}

func TestWhatWouldLetInStrangersIsRefusedAtTheStart(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server")
	token := tokenFile(t, goodToken, 0o600)
	log := newLog(t)
	for _, c := range []struct {
		address string
		tcp     TCP
		says    string
	}{
		{"127.0.0.1:0", TCP{}, "must prove who they are"},
		{"127.0.0.1:0", TCP{CertFile: cert, KeyFile: key}, "must prove who they are"},
		{"127.0.0.1:0", TCP{CertFile: cert, ClientCAFile: a.file}, "both a certificate and its key"},
		{"127.0.0.1:0", TCP{KeyFile: key, TokenFile: token}, "both a certificate and its key"},
		{"127.0.0.1:0", TCP{ClientCAFile: a.file}, "need TLS"},
		{"127.0.0.1:0", TCP{Insecure: true, TokenFile: token}, "contradicts"},
		{"127.0.0.1:0", TCP{Insecure: true, CertFile: cert, KeyFile: key, ClientCAFile: a.file}, "contradicts"},
		{"0.0.0.0:0", TCP{Insecure: true}, "loopback"},
		{":0", TCP{Insecure: true}, "loopback"},
		{"[::]:0", TCP{Insecure: true}, "loopback"},
		{"example.com:0", TCP{Insecure: true}, "loopback"},
		{"0.0.0.0:0", TCP{TokenFile: token}, "in the clear"},
		{"127.0.0.1:0", TCP{TokenFile: tokenFile(t, goodToken, 0o640)}, "chmod 600"},
		{"127.0.0.1:0", TCP{TokenFile: tokenFile(t, "short", 0o600)}, "16 to 4096"},
		{"127.0.0.1:0", TCP{TokenFile: tokenFile(t, strings.Repeat("x", 5000), 0o600)}, "16 to 4096"},
		{"127.0.0.1:0", TCP{TokenFile: tokenFile(t, goodToken+"\n"+goodToken, 0o600)}, "one word"},
		{"127.0.0.1:0", TCP{TokenFile: filepath.Join(t.TempDir(), "none")}, "cannot be read"},
		{"127.0.0.1:0", TCP{CertFile: cert, KeyFile: a.file, ClientCAFile: a.file}, "cannot be used"},
		{"127.0.0.1:0", TCP{CertFile: cert, KeyFile: key, ClientCAFile: key}, "cannot be used"},
		{"unix:///tmp/x.sock", TCP{Insecure: true}, "Unix socket"},
	} {
		s, err := New(Options{Address: c.address, TCP: c.tcp, Devices: newFakeDevices(log), Events: log})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), goodToken) {
			t.Errorf("%s with %+v: %v, want %q", c.address, c.tcp, err, c.says)
		}
	}
}

func TestOnLoopbackTheWordInsecureLetsEverybodyIn(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		w := serve(t, func(o *Options) { o.Address, o.TCP = address, TCP{Insecure: true} })
		if _, err := w.client().Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}); err != nil {
			t.Fatal(err)
		}
		if got := w.devices.callers[0]; got != (Caller{Kind: LoopbackCaller}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestTheTokenIsAsked(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server")
	for name, c := range map[string]struct {
		tcp  TCP
		dial grpc.DialOption
	}{
		"loopback": {TCP{TokenFile: tokenFile(t, goodToken+"\n", 0o600)}, grpc.WithTransportCredentials(insecure.NewCredentials())},
		"TLS":      {TCP{TokenFile: tokenFile(t, goodToken, 0o400), CertFile: cert, KeyFile: key}, a.trusting(nil, "")},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", c.tcp })
			for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer x", goodToken, "Basic " + goodToken, "Bearer " + goodToken + "0", "Bearer " + goodToken[1:]} {
				client := w.client(c.dial, grpc.WithPerRPCCredentials(bearerToken(wrong)))
				refused(t, list(t, client), codes.Unauthenticated, "CALLER_UNKNOWN")
				events, err := client.Events(t.Context(), &pb.EventsRequest{})
				if err == nil {
					_, err = events.Recv()
				}
				refused(t, err, codes.Unauthenticated, "CALLER_UNKNOWN")
			}
			refused(t, list(t, w.client(c.dial)), codes.Unauthenticated, "CALLER_UNKNOWN")
			right := w.client(c.dial, grpc.WithPerRPCCredentials(bearerToken("bearer "+goodToken)))
			if _, err := right.Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}); err != nil {
				t.Fatal(err)
			}
			if got := w.devices.callers[0]; got != (Caller{Kind: TokenCaller}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestMutualTLSLetsInThoseWithACertificate(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	cert, key := a.issue("server")
	policy, err := NewPolicy([]Rule{{Callers: []string{"certificate:app-*"}, Operations: []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, func(o *Options) {
		o.Address, o.TCP, o.Policy = "127.0.0.1:0", TCP{CertFile: cert, KeyFile: key, ClientCAFile: a.file}, policy
	})
	if _, err := w.client(a.trusting(a, "app-1")).Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}); err != nil {
		t.Fatal(err)
	}
	if got := w.devices.callers[0]; got != (Caller{Kind: CertificateCaller, Name: "app-1"}) {
		t.Errorf("%+v", got)
	}
	if r := refused(t, list(t, w.client(a.trusting(a, "other"))), codes.PermissionDenied, "CALLER_NOT_PERMITTED"); !strings.Contains(r.message, `certificate "other"`) {
		t.Error(r.message)
	}
	for name, dial := range map[string]grpc.DialOption{
		"none":       a.trusting(nil, ""),
		"a stranger": a.trusting(stranger, "app-1"),
		"no TLS":     grpc.WithTransportCredentials(insecure.NewCredentials()),
	} {
		if err := list(t, w.client(dial)); refusalOf(t, err).code != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReflectionIsServedOverTCPOnlyWhenAsked(t *testing.T) {
	const v1 = "grpc.reflection.v1.ServerReflection"
	for _, c := range []struct {
		change func(*Options)
		want   bool
	}{
		{func(*Options) {}, true},
		{func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", TCP{Insecure: true} }, false},
		{func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", TCP{Insecure: true, Reflection: true} }, true},
	} {
		w := serve(t, c.change)
		services := w.server.grpc.GetServiceInfo()
		if _, served := services[v1]; served != c.want {
			t.Errorf("%s: %v", w.server.Address(), served)
		}
		if _, served := services["grpc.reflection.v1alpha.ServerReflection"]; served {
			t.Error("v1alpha is served")
		}
	}
}

func TestTheCallerOfAUnixSocketIsWhoTheKernelSays(t *testing.T) {
	w := serve(t)
	if _, err := w.client().Connect(t.Context(), &pb.ConnectRequest{Device: named(dev1)}); err != nil {
		t.Fatal(err)
	}
	want := Caller{Kind: UnixCaller, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), PID: int32(os.Getpid())}
	if got := w.devices.callers[0]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if w.devices.statuses[dev1].State != event.Online {
		t.Error("the device is not online")
	}
}

func TestACertificatesNameIsTheFirstThatItCarries(t *testing.T) {
	spiffe, err := url.Parse("spiffe://example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	for want, cert := range map[string]*x509.Certificate{
		"cn":                       {Subject: pkix.Name{CommonName: "cn"}, DNSNames: []string{"dns"}},
		"dns":                      {DNSNames: []string{"dns"}, URIs: []*url.URL{spiffe}},
		"spiffe://example.com/app": {URIs: []*url.URL{spiffe}, EmailAddresses: []string{"a@b"}},
		"a@b":                      {EmailAddresses: []string{"a@b"}},
		"":                         {},
	} {
		if got := certificateName(cert); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
