package sandbox

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

const (
	caFile    = "ca.pem"     // the certificate, for devices to trust
	caKeyFile = "ca-key.pem" // mode 0600

	caLife   = 20 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// renew is how long before its end a certificate is made anew.
	renew = 24 * time.Hour
	// maxLeaves bounds the certificates that are kept: server names come from the network.
	maxLeaves = 256
)

// authority is the sandbox's certificate authority. It makes a certificate for whatever server name a device asks for, so that
// with an entry in the hosts file even the platform's own names verify.
//
// Like the platform's root it is RSA-2048 with SHA-256, which every device's TLS knows. The servers' own keys are ECDSA, which is
// quicker to make and to use, or RSA for a device that knows nothing else.
type authority struct {
	path string // of the certificate
	cert *x509.Certificate
	key  crypto.Signer

	ecdsaKey crypto.Signer
	rsaKey   func() (crypto.Signer, error) // made when it is first needed

	mu     sync.Mutex
	leaves map[leafName]*tls.Certificate
}

type leafName struct {
	name string // a host name or an IP address
	rsa  bool
}

// openAuthority reads the authority of the state directory, or makes it.
func openAuthority(dir string) (*authority, error) {
	if err := statedir.Prepare(dir); err != nil {
		return nil, err
	}
	key, err := loadKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("the sandbox's certificate authority cannot be used: %w", err)
	}
	a := &authority{path: filepath.Join(dir, caFile), key: key, leaves: map[leafName]*tls.Certificate{}}
	if a.cert, err = loadCertificate(a.path, key); err != nil {
		return nil, fmt.Errorf("the sandbox's certificate authority cannot be used: %w", err)
	}
	if a.ecdsaKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.rsaKey = sync.OnceValues(newRSAKey)
	return a, nil
}

func newRSAKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// loadKey reads the authority's key, or makes it. Two sandboxes that start at once on one directory agree on one key.
func loadKey(path string) (crypto.Signer, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, err
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := statedir.Private(f); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, fmt.Errorf("%s holds no private key: remove it, and a new authority is made, which devices must then trust anew", path)
}

// makeKey writes a new key, unless there is one by now.
func makeKey(path string) error {
	key, err := newRSAKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ca-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = errors.Join(pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return statedir.NoRoom(err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return statedir.Sync(filepath.Dir(path))
}

// loadCertificate reads the certificate that belongs to the key, or makes it. It is made anew when it is about to end; whoever
// trusts the old one must then trust the new one.
func loadCertificate(path string, key crypto.Signer) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && time.Until(cert.NotAfter) > renew && cert.CheckSignatureFrom(cert) == nil && samePublicKey(cert, key) {
			return cert, nil
		}
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "linkkit-sidecar sandbox CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	const readable = 0o644 // it is no secret, and devices of other users may be given it
	if err := renameio.WriteFile(path, text, readable); err != nil {
		return nil, statedir.NoRoom(err)
	}
	return x509.ParseCertificate(der)
}

func samePublicKey(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && public.Equal(key.Public())
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return new(big.Int).SetBytes(b)
}

// tlsConfig is that of a server with the authority's certificates.
func (a *authority) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.certificate, CipherSuites: cipherSuites()}
}

// cipherSuites are Go's own choice, and behind it those that old C devices know: RSA key exchange.
func cipherSuites() []uint16 {
	var all []uint16
	for _, suite := range tls.CipherSuites() {
		all = append(all, suite.ID)
	}
	return append(all,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	)
}

// certificate is for the name that the device asks for. A device that dials an IP address asks for none: it gets a certificate
// for the address that it dialled and for this machine.
func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if name == "" {
		name, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
		name = cmp.Or(name, "127.0.0.1")
	}
	leaf, err := a.leaf(leafName{name: name})
	if err == nil && hello.SupportsCertificate(leaf) != nil {
		return a.leaf(leafName{name: name, rsa: true})
	}
	return leaf, err
}

func (a *authority) leaf(wanted leafName) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf := a.leaves[wanted]; leaf != nil && time.Until(leaf.Leaf.NotAfter) > renew {
		return leaf, nil
	}
	leaf, err := a.mint(wanted)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[wanted] = leaf
	return leaf, nil
}

func (a *authority) mint(wanted leafName) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "linkkit-sidecar sandbox"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(wanted.name); ip != nil {
		template.IPAddresses = []net.IP{ip, net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.DNSNames = []string{"localhost"}
	} else {
		template.DNSNames = []string{wanted.name}
	}
	key := a.ecdsaKey
	if wanted.rsa {
		var err error
		if key, err = a.rsaKey(); err != nil {
			return nil, err
		}
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // for RSA key exchange
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("no certificate could be made for the name %.100q: %w", wanted.name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
