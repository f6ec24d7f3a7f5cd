package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// What the fixture has.
const (
	ProductKey    = "a1B2c3D4e5F"
	ProductSecret = "PsSecret01234567"
	DeviceSecret  = "0123456789abcdef0123456789abcdef" // of dev-001
)

// Platform is a running sandbox.
type Platform struct {
	*Running
	Console sandboxv1.SandboxServiceClient
}

// Fixture writes a fixture with dev-001, which has DeviceSecret, and devices without a secret, dev-002 and more. It returns its path.
func Fixture(t *testing.T, more int) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "products:\n  - product_key: %s\n    product_secret: %s\n    dynamic_registration: true\n    devices:\n", ProductKey, ProductSecret)
	fmt.Fprintf(&text, "      - device_name: dev-001\n        device_secret: %s\n", DeviceSecret)
	for i := range more {
		fmt.Fprintf(&text, "      - device_name: dev-%03d\n", i+2)
	}
	file := filepath.Join(t.TempDir(), "fixture.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// StartPlatform runs a sandbox with a Fixture.
func StartPlatform(t *testing.T, more int, args ...string) *Platform {
	t.Helper()
	dir := t.TempDir()
	p := Launch(t, append([]string{
		"sandbox", "--state-dir", filepath.Join(dir, "state"), "--fixture", Fixture(t, more), "--mqtt-address", "127.0.0.1:0",
		"--mqtts-address", "127.0.0.1:0", "--https-address", "127.0.0.1:0", "--control-address", "unix://" + filepath.Join(dir, "c.sock"),
	}, args...)...)
	return &Platform{p, sandboxv1.NewSandboxServiceClient(Dial(t, p.Ready["control"]))}
}

// Port is that of an address in the ready line.
func (p *Platform) Port(name string) (port uint32) {
	address := p.Ready[name]
	if _, err := fmt.Sscan(address[strings.LastIndexByte(address, ':')+1:], &port); err != nil {
		p.t.Fatalf("the ready line says %q for %s", address, name)
	}
	return port
}

// Endpoint is the platform's TLS port under a name that its certificate has.
func (p *Platform) Endpoint() *pb.Endpoint {
	return &pb.Endpoint{Host: "localhost", Port: p.Port("mqtts")}
}

// CAFile is the certificate to trust.
func (p *Platform) CAFile() string { return p.Ready["ca_file"] }

// ConsoleDevice names a device to the console.
func ConsoleDevice(name string) *sandboxv1.Device {
	return &sandboxv1.Device{ProductKey: ProductKey, DeviceName: name}
}
