package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"time"
)

// Broker is mosquitto with TLS, or the sandbox.
type Broker struct {
	*Process
	Port   int
	CAFile string

	lab   *Lab
	signs bool // logins are signed, as the platform wants them
}

// Address is "HOST:PORT" by a name that its certificate has.
func (b *Broker) Address() string { return fmt.Sprintf("localhost:%d", b.Port) }

// startBroker takes a port that is free; mosquitto cannot tell which one it took.
func (l *Lab) startBroker() (*Broker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b := &Broker{Port: port, CAFile: l.Path("ca.pem"), lab: l}
	if err := certificate(b.CAFile, l.Path("server.pem"), l.Path("key.pem")); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`listener %d 127.0.0.1
cafile %s
certfile %s
keyfile %s
allow_anonymous true
user root
persistence false
sys_interval 0
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 100
log_type error
log_dest stderr
`, port, b.CAFile, l.Path("server.pem"), l.Path("key.pem"))
	if err := os.WriteFile(l.Path("mosquitto.conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := b.Restart(); err != nil {
		return nil, err
	}
	return b, nil
}

// Restart starts it, also after it was killed, and waits until it can be reached.
func (b *Broker) Restart() (err error) {
	if b.Process, err = b.lab.Start(exec.CommandContext(b.lab.ctx, "mosquitto", "-c", b.lab.Path("mosquitto.conf"))); err != nil {
		return err
	}
	return b.lab.Await("mosquitto", time.Minute, func() (bool, error) {
		select {
		case <-b.exited:
			return false, b.failed(b.err)
		default:
		}
		c, err := new(net.Dialer).DialContext(b.lab.ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
		if err == nil {
			err = c.Close()
		}
		return err == nil, nil
	})
}

func freePort() (int, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// certificate makes an authority and a certificate for localhost, of RSA with 2048 bits as the platform's.
func certificate(caFile, certFile, keyFile string) error {
	caKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(3, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := sign(ca, ca, &caKey.PublicKey, caKey, caFile); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if err := sign(server, ca, &key.PublicKey, caKey, certFile); err != nil {
		return err
	}
	return writePEM(keyFile, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

func sign(c, by *x509.Certificate, public *rsa.PublicKey, key *rsa.PrivateKey, file string) error {
	der, err := x509.CreateCertificate(rand.Reader, c, by, public, key)
	if err != nil {
		return err
	}
	return writePEM(file, "CERTIFICATE", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
