package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestItsCertificatesVerifyForAnyName(t *testing.T) {
	s := start(t)
	for _, address := range []string{s.Addresses().MQTT, s.Addresses().MQTTS, s.Addresses().HTTPS} {
		for _, name := range []string{
			"localhost", "a1B2c3D4e5F.iot-as-mqtt.cn-shanghai.aliyuncs.com", "iot-060a00.mqtt.iothub.aliyuncs.com",
			"iot-auth.cn-shanghai.aliyuncs.com", "127.0.0.1", "::1", // the last two are sent as no name
		} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := s.trust(name)
				config.MinVersion, config.MaxVersion = version, version
				conn, err := tls.Dial("tcp", address, config)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				conn.Close()
			}
		}
	}
	config := s.trust("localhost")
	config.MaxVersion = tls.VersionTLS11
	if conn, err := tls.Dial("tcp", s.Addresses().MQTTS, config); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was taken")
	}
}

// Old C devices know RSA alone, also for the exchange of keys.
func TestADeviceThatKnowsOnlyRSAIsServed(t *testing.T) {
	s := start(t)
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} {
		config := s.trust("localhost")
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{suite}
		conn, err := tls.Dial("tcp", s.Addresses().MQTTS, config)
		if err != nil {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
			continue
		}
		if key := conn.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; key != x509.RSA {
			t.Errorf("%s with a key of %v", tls.CipherSuiteName(suite), key)
		}
		conn.Close()
	}
}

func TestADeviceThatTrustsAnotherRootDoesNotComeIn(t *testing.T) {
	s := start(t)
	_, err := tls.Dial("tcp", s.Addresses().MQTTS, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()})
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); !untrusted {
		t.Errorf("got %v", err)
	}
	s.login(dev001, deviceSecret).ping()
}

func TestThePortForTLSOnlyTakesNoPlainMQTT(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", s.Addresses().MQTTS)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.write(connectPacket(secretLogin(dev001, deviceSecret)))
	for { // perhaps a TLS alert, then the end; never a CONNACK
		b, err := c.in.ReadByte()
		if err != nil {
			break
		}
		if b == typeConnack<<4 {
			t.Fatal("it answered MQTT")
		}
	}
	if n := len(s.logins(dev001)); n > 0 {
		t.Errorf("%d logins were recorded", n)
	}
}

func TestTheAuthorityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, err := openAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := openAuthority(dir)
	if err != nil || !second.cert.Equal(first.cert) {
		t.Fatalf("another certificate, or %v", err)
	}
	for file, want := range map[string]os.FileMode{caFile: 0o644, caKeyFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("it left more than its two files: %v", entries)
	}

	// The certificate alone is lost: the new one is of the same key, and devices that trust the old one are content.
	os.Remove(filepath.Join(dir, caFile))
	third, err := openAuthority(dir)
	if err != nil || third.cert.Equal(first.cert) {
		t.Fatalf("the same certificate, or %v", err)
	}
	leaf, err := third.leaf(leafName{name: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(first.cert)
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
}

func TestAnAuthorityThatCannotBeUsedIsNotReplaced(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"not a key":           func(path string) error { return os.WriteFile(path, []byte("hunter2"), 0o600) },
		"readable for others": func(path string) error { return os.Chmod(path, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if _, err := openAuthority(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, caKeyFile)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			_, err := New(Options{StateDir: dir})
			if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
			if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that others can enter: %v", err)
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("no directory: %v", err)
	}
}

func TestTwoSandboxesMakeOneAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var (
		both sync.WaitGroup
		all  [2]*authority
	)
	for i := range all {
		both.Go(func() {
			var err error
			if all[i], err = openAuthority(dir); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if !t.Failed() && !samePublicKey(all[0].cert, all[1].key) {
		t.Error("they have different keys")
	}
}

func TestCertificatesAreKeptWithinBounds(t *testing.T) {
	a, err := openAuthority(stateDir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.leaf(leafName{name: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := a.leaf(leafName{name: "localhost"}); again != first {
		t.Error("it was made twice")
	}
	for i := range maxLeaves + 5 {
		if _, err := a.leaf(leafName{name: fmt.Sprintf("host-%d.example", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.leaves); n > maxLeaves {
		t.Errorf("%d are kept", n)
	}
	if left := time.Until(first.Leaf.NotAfter); left < leafLife-time.Hour || left > leafLife {
		t.Errorf("it lasts %v", left)
	}
}

func TestTheReadyLine(t *testing.T) {
	s := start(t, controlSocket(t))
	line, err := json.Marshal(s.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"mqtt", "mqtts", "https"} {
		if _, port, err := net.SplitHostPort(got[key]); err != nil || port == "0" {
			t.Errorf("%s is %q", key, got[key])
		}
	}
	if got["ca_file"] != filepath.Join(stateDir, "ca.pem") || !strings.HasPrefix(got["control"], "unix:///") || len(got) != 5 {
		t.Errorf("the line is %s", line)
	}
}

func TestAPortThatOtherMachinesReachIsWarnedOf(t *testing.T) {
	var log strings.Builder
	s, err := New(Options{
		StateDir: stateDir, MQTTAddress: "0.0.0.0:0", MQTTSAddress: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := strings.Count(log.String(), "other machines can reach this port"); n != 1 {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}
