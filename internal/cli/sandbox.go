package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/sandbox"
)

func (r *run) sandboxCommand() *cobra.Command {
	var o sandbox.Options
	var log logFlags
	var stdin stdinFlag
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run the platform emulator alone, for tests and development",
		Long: `Runs an emulator of the platform's device side, good enough that the vendor's own SDKs connect to it unmodified. It knows
the products and devices of a fixture and those that SandboxService makes; all of it is in memory, and only the certificate
authority is kept, in the state directory.

When it is ready it prints one line of JSON to standard output: "mqtt", "mqtts", "https", "control" (where SandboxService
listens) and "ca_file" (what devices must trust). Any port may be 0; an address that is empty is a door that stays closed.

A fixture:
    products:
      - product_key: a1B2c3D4e5F
        product_secret: PsSecret01234567
        dynamic_registration: true
        devices:
          - device_name: dev-001
            device_secret: 0123456789abcdef0123456789abcdef
          - device_name: dev-002      # no secret yet: it is made when it registers

Exit codes: 0 stopped by a signal; 1 it could not go on; 2 it refused to start.`,
		Example: `    linkkit-sidecar sandbox --state-dir ./sandbox --fixture fixture.yaml
    linkkit-sidecar sandbox --state-dir ./sandbox --mqtt-address 127.0.0.1:0 --mqtts-address 127.0.0.1:0 --https-address ""
    grpcurl -plaintext -unix ./sandbox/sandbox.sock linkkit_sidecar.sandbox.v1.SandboxService/ListDevices`,
		RunE: r.operation(func(ctx context.Context) error {
			o.Log = log.logger(r.Stderr)
			stop := log.obey(o.Log)
			defer stop()
			ctx, cancel := stdin.watch(ctx, r.Stdin)
			defer cancel()
			return r.serveSandbox(ctx, o)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&o.StateDir, "state-dir", "", "`directory` for the certificate authority; mode 0700")
	fs.StringVar(&o.FixtureFile, "fixture", "", "YAML `file` with the products and devices to begin with")
	fs.StringVar(&o.MQTTAddress, "mqtt-address", "127.0.0.1:1883", "`HOST:PORT` for plain MQTT and MQTT over TLS on one port")
	fs.StringVar(&o.MQTTSAddress, "mqtts-address", "127.0.0.1:8883", "`HOST:PORT` for MQTT over TLS only")
	fs.StringVar(&o.HTTPSAddress, "https-address", "127.0.0.1:8443", "`HOST:PORT` for the legacy registration over HTTPS")
	fs.StringVar(&o.ControlAddress, "control-address", "", "unix:///PATH or loopback HOST:PORT for SandboxService; default: sandbox.sock in the state directory")
	fs.BoolVar(&o.Strict, "strict", false, "refuse what is only warned of where it is not known what the platform does, and drop what a device publishes too fast")
	fs.BoolVar(&o.RefusePlainTCP, "refuse-plain-tcp", false, "answer logins without TLS with CONNACK 5")
	fs.IntVar(&o.ConnectsPerMinute, "device-logins-per-minute", sandbox.DefaultConnectsPerMinute, "`logins` of one device in any minute; -1 is no limit")
	fs.IntVar(&o.KeepMessages, "keep-messages", sandbox.DefaultKeepMessages, "how many `messages` of each device are kept in memory for ListMessages, 1 to 1000000")
	stdin.add(fs)
	log.add(cmd, "info")
	_ = cmd.MarkFlagDirname("state-dir")
	_ = cmd.MarkFlagFilename("fixture", "yaml", "yml")
	return cmd
}

func (r *run) serveSandbox(ctx context.Context, o sandbox.Options) error {
	switch {
	case o.StateDir == "":
		return usage(errors.New("--state-dir DIR is needed: the certificate authority is kept there"))
	case o.KeepMessages < 1, o.KeepMessages > sandbox.MaxKeepMessages:
		return usage(fmt.Errorf("--keep-messages must be 1 to %d, not %d", sandbox.MaxKeepMessages, o.KeepMessages))
	case o.ControlAddress == "":
		dir, err := filepath.Abs(o.StateDir)
		if err != nil {
			return usage(err)
		}
		o.ControlAddress = "unix://" + filepath.Join(dir, "sandbox.sock")
	}
	s, err := sandbox.New(o)
	if err != nil {
		return usage(fmt.Errorf("the sandbox cannot start: %w", err))
	}
	if err := json.NewEncoder(r.Stdout).Encode(s.Addresses()); err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Run(ctx)
}
