package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// deviceFlag names the device a command is about.
func (r *run) deviceFlag(cmd *cobra.Command, to *string, usage string) {
	cmd.Flags().StringVarP(to, "device", "d", "", usage)
	_ = cmd.RegisterFlagCompletionFunc("device", r.completeDevice)
}

// theDevice reads --device; none is nil.
func theDevice(s string) (*pb.Device, error) {
	if s == "" {
		return nil, nil
	}
	id, err := device.ParseID(s)
	if err != nil {
		return nil, usage(fmt.Errorf("--device %s must be PRODUCT_KEY/DEVICE_NAME: %w", quoted(s), err))
	}
	return &pb.Device{ProductKey: id.ProductKey, DeviceName: id.DeviceName}, nil
}

// neededDevice is theDevice where the sidecar will not guess it.
func neededDevice(s string) (*pb.Device, error) {
	if s == "" {
		return nil, usage(errors.New("--device PRODUCT_KEY/DEVICE_NAME is needed"))
	}
	return theDevice(s)
}

// completeDevice offers the devices of the sidecar, if one answers.
func (r *run) completeDevice(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const patience = time.Second // a shell that hangs is worse than one that does not know
	if r.readConfig(cmd.Flags()) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	_ = r.ask(cmd.Context(), &clientFlags{address: address, timeout: patience}, func(ctx context.Context, c *client) error {
		return eachDevice(ctx, c, func(s *pb.DeviceStatus) error {
			names = append(names, deviceName(s.GetDevice()))
			return nil
		})
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// targetFlags say which server of the platform to use, how to reach it and whom to trust.
type targetFlags struct {
	region, instanceID, host string
	port                     uint16
	dialAddress              string
	caFile                   string
	systemRoots, skipName    bool
	signMethod               string
}

func (o *targetFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.region, "region", "", "`region` of an old public instance; cn-shanghai when no server is named")
	fs.StringVar(&o.instanceID, "instance-id", "", "`id` of a new public or an enterprise instance, such as iot-0123abc")
	fs.StringVar(&o.host, "host", "", "host `name` of a server of your own, or of the sandbox")
	fs.Uint16Var(&o.port, "port", 0, "TCP `port` (default 8883)")
	fs.StringVar(&o.dialAddress, "dial-address", "", "dial this `IP` or IP:PORT instead of resolving the host, whose name TLS still verifies")
	fs.StringVar(&o.caFile, "ca-file", "", "PEM `file` with certificates to trust beside the platform's built-in roots")
	fs.BoolVar(&o.systemRoots, "system-roots", false, "trust the sidecar's operating system's roots too")
	fs.BoolVar(&o.skipName, "skip-hostname-verification", false, "accept a certificate for another name; its chain is still verified")
	fs.Var(config.Choice(&o.signMethod, "hmacsha256", config.SignMethods), "sign-method", "`HMAC` to sign with: "+strings.Join(config.SignMethods, ", "))
	_ = cmd.MarkFlagFilename("ca-file", "pem", "crt")
	complete(cmd, "sign-method", config.SignMethods)
	complete(cmd, "region", []string{"cn-shanghai", "ap-southeast-1", "ap-northeast-1", "us-west-1", "us-east-1", "eu-central-1"})
	cmd.MarkFlagsMutuallyExclusive("region", "instance-id", "host")
}

// endpoint is nil when no flag says anything about it.
func (o *targetFlags) endpoint() *pb.Endpoint {
	if o.region == "" && o.instanceID == "" && o.host == "" && o.port == 0 {
		return nil
	}
	return &pb.Endpoint{Region: o.region, InstanceId: o.instanceID, Host: o.host, Port: uint32(o.port)}
}

func (o *targetFlags) tls() (*pb.TlsSettings, error) {
	settings := &pb.TlsSettings{SystemRoots: o.systemRoots, SkipHostnameVerification: o.skipName}
	if o.caFile == "" {
		return settings, nil
	}
	pem, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, usage(fmt.Errorf("--ca-file: %w", err))
	}
	settings.CaPem = string(pem)
	return settings, nil
}

func (o *targetFlags) sign() pb.SignMethod {
	return pb.SignMethod(pb.SignMethod_value["SIGN_METHOD_"+strings.ToUpper(o.signMethod)])
}
