package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func (r *run) forgetCommand() *cobra.Command {
	var name string
	var force bool
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "forget",
		Short: "Remove all that the sidecar has stored of a device",
		Long: `Removes a device's credential, settings, stored messages and inboxes from the sidecar. Think first: a credential from a
registration cannot be had again once the device was online, unless the console resets the device.

A device that is to be online is refused, unless --force disconnects it first. A device that the configuration file declares
comes back at the next start.

Exit codes: 0 forgotten; 1 not forgotten, such as because it is connected; 2 wrong flags; 3 no sidecar; 5 timed out.`,
		Example: `    linkkit-sidecar forget --device a1B2c3D4e5F/dev-001
    linkkit-sidecar forget --device a1B2c3D4e5F/dev-001 --force`,
	}, 30*time.Second, func(ctx context.Context, c *client) error {
		dev, err := neededDevice(name)
		if err != nil {
			return err
		}
		response, err := c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: dev, Force: force})
		if err != nil {
			return err
		}
		if r.output == outputJSON {
			return printJSON(r.Stdout, response)
		}
		_, err = fmt.Fprintln(r.Stdout, deviceName(dev)+" is forgotten")
		return err
	})
	r.deviceFlag(cmd, &name, "the `device`, PRODUCT_KEY/DEVICE_NAME")
	cmd.Flags().BoolVar(&force, "force", false, "disconnect it first if it is to be online")
	o.connectionFlags(cmd)
	return cmd
}
