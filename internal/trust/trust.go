// Package trust has the certificates of the roots that the platform's servers chain to. It does no I/O: they are in the binary.
//
// Port 8883 presents a chain to the Aliyun IoT root, ports 1883 and 443 chains to GlobalSign's.
package trust

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

//go:embed roots.pem
var rootsPEM []byte

// Notice is how long before its end a root is worth a warning: long enough to roll out new software to devices in the field.
const Notice = 2 * 365 * 24 * time.Hour

// Roots returns the built-in roots.
func Roots() []*x509.Certificate {
	roots, err := Parse(rootsPEM)
	if err != nil {
		panic("trust: roots.pem: " + err.Error()) // it is part of the program, and a test reads it
	}
	return roots
}

// Parse reads PEM certificates; other kinds of PEM blocks are errors, so that a key given by mistake is noticed.
func Parse(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("found a PEM block %q where only CERTIFICATE is of use", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return certs, nil
}

// Pool is the set of roots to verify a server against: the built-in ones, the operating system's if asked, and extra.
func Pool(system bool, extra []*x509.Certificate) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if system {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("reading the operating system's roots: %w", err)
		}
	}
	for _, cert := range Roots() {
		pool.AddCert(cert)
	}
	for _, cert := range extra {
		pool.AddCert(cert)
	}
	return pool, nil
}

// Warning says that a root ends within Notice of now, or is "" when it does not.
func Warning(root *x509.Certificate, now time.Time) string {
	if root.NotAfter.Sub(now) > Notice {
		return ""
	}
	return fmt.Sprintf("the trusted root %q ends on %s; have a server or a software version that does not need it before then",
		Name(root), root.NotAfter.UTC().Format(time.DateOnly))
}

// Name is a root's name for people.
func Name(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" && len(cert.Subject.OrganizationalUnit) > 0 && cert.Subject.CommonName == "GlobalSign" {
		return cert.Subject.OrganizationalUnit[0] // GlobalSign's R3 and R6 have the same common name
	}
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	return cert.Subject.String()
}
