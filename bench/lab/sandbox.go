package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// secret of the devices that the sandbox knows.
const secret = "0123456789abcdef0123456789abcdef"

// UseSandbox has the emulator of the platform take the broker's place.
func (l *Lab) UseSandbox() error {
	fixture := fmt.Sprintf(`products:
  - product_key: %s
    product_secret: any
    devices:
      - {device_name: %s, device_secret: %s}
      - {device_name: %s, device_secret: %s}
`, ProductKey, DeviceName, secret, direct.DeviceName, secret)
	if err := os.WriteFile(l.Path("fixture.yaml"), []byte(fixture), 0o600); err != nil {
		return err
	}
	p, err := l.StartReady(exec.CommandContext(l.ctx, l.Options.Sidecar, "sandbox", "--state-dir", l.Path("sandbox"), "--fixture", l.Path("fixture.yaml"),
		"--mqtt-address", "", "--mqtts-address", "127.0.0.1:0", "--https-address", "", "--control-address", "unix://"+l.Path("sandbox.sock"),
		"--device-logins-per-minute", "-1", "--keep-messages", "1", "--log-level", "error"))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(p.Say("mqtts"))
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	l.Broker = &Broker{Process: p, Port: number, CAFile: p.Say("ca_file"), signs: true, lab: l}
	return err
}

// direct is the device that a rival is which talks MQTT itself.
var direct = device.ID{ProductKey: ProductKey, DeviceName: "direct"}

// login is what it logs in with.
func (b *Broker) login() platform.Login {
	if b.signs {
		return platform.SecretLogin(direct, device.NewSecret(secret), platform.LoginOptions{})
	}
	return platform.Login{ClientID: direct.DeviceName, Username: direct.DeviceName + "&" + ProductKey, Password: device.NewSecret("any")}
}
