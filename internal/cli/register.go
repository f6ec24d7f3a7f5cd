package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

var registrationMethods = []string{"pre-registered", "registration-free", "https-legacy"}

func (r *run) registerCommand() *cobra.Command {
	var (
		name, method, secretFile string
		replace, reveal          bool
		target                   targetFlags
	)
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "register",
		Short: "Obtain a device's credential by dynamic registration, and store it in the sidecar",
		Long: `Registers a device with the secret of its product ("one product, one secret"), and stores what the platform gives out in
the sidecar, durably, before it says so. The product's switch "dynamic registration" must be on.

Methods:
    pre-registered     over MQTT and TLS; the device exists on the platform and has never logged in. Gives a device secret
    registration-free  over MQTT and TLS; the device is created by registering. Gives a device token.
                       Only in cn-shanghai and cn-beijing
    https-legacy       over HTTPS, as older SDKs do; the device exists. Gives a device secret. Only in cn-shanghai

Until the device's first login a second registration replaces the secret; after it, the platform refuses any other, unless
the console resets the device. So the sidecar refuses one while a credential is stored, unless --replace is given. A refusal
touches nothing that is stored. The product's secret is used once and never stored.

Exit codes: 0 registered; 1 not registered, such as because a credential is stored; 2 wrong flags; 3 no sidecar; 4 refused by
the platform; 5 timed out.`,
		Example: `    linkkit-sidecar register --device a1B2c3D4e5F/dev-002 --method pre-registered --product-secret-file product.secret
    pass show iot/product | linkkit-sidecar register -d a1B2c3D4e5F/dev-002 --method registration-free --product-secret-file -
    linkkit-sidecar register -d a1B2c3D4e5F/dev-002 --method pre-registered --product-secret-file product.secret \
        --host localhost --port 8883 --ca-file ca.pem       # the sandbox`,
	}, 30*time.Second, func(ctx context.Context, c *client) error {
		dev, err := neededDevice(name)
		switch {
		case err != nil:
			return err
		case method == "":
			return usage(errors.New("--method is needed: one of " + strings.Join(registrationMethods, ", ")))
		case secretFile == "":
			return usage(errors.New("--product-secret-file FILE is needed; \"-\" is standard input"))
		}
		secret, err := r.secrets.Read(secretFile)
		if err != nil {
			return usage(fmt.Errorf("--product-secret-file: %w", err))
		}
		tls, err := target.tls()
		if err != nil {
			return err
		}
		response, err := c.Register(ctx, &pb.RegisterRequest{
			Device: dev, Method: registrationMethod(method), ProductSecret: secret.Reveal(), Endpoint: target.endpoint(),
			DialAddress: target.dialAddress, Tls: tls, SignMethod: target.sign(), Replace: replace, RevealCredential: reveal,
		})
		if err != nil {
			return err
		}
		if r.output == outputJSON {
			return printJSON(r.Stdout, response)
		}
		return r.printRegistered(response)
	})
	fs := cmd.Flags()
	r.deviceFlag(cmd, &name, "the `device`, PRODUCT_KEY/DEVICE_NAME")
	fs.Var(config.Choice(&method, "", registrationMethods), "method", "the `way` to register: "+strings.Join(registrationMethods, ", "))
	complete(cmd, "method", registrationMethods)
	fs.StringVar(&secretFile, "product-secret-file", "", "`file` with the product's secret; - is standard input")
	fs.BoolVar(&replace, "replace", false, "register again although a credential is stored; that one is kept until the new one is on disk")
	fs.BoolVar(&reveal, "reveal", false, "print the credential itself; else it stays in the sidecar")
	target.add(cmd)
	o.connectionFlags(cmd)
	return cmd
}

func registrationMethod(word string) pb.RegistrationMethod {
	name := "REGISTRATION_METHOD_" + strings.ToUpper(strings.ReplaceAll(word, "-", "_"))
	return pb.RegistrationMethod(pb.RegistrationMethod_value[name])
}

func (r *run) printRegistered(response *pb.RegisterResponse) error {
	w := &lines{w: r.Stdout}
	w.printf("%s is registered; stored: %s\n", deviceName(response.GetDevice()), describeCredential(response.GetCredential()))
	if secret := response.GetDeviceSecret(); secret != "" {
		w.printf("    device secret  %s\n", secret)
	}
	if token := response.GetDeviceToken(); token != nil {
		w.printf("    client id      %s\n    device token   %s\n", token.GetClientId(), token.GetToken())
	}
	return w.err
}
