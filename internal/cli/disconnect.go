package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func (r *run) disconnectCommand() *cobra.Command {
	var name string
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "disconnect",
		Short: "Let a device go offline",
		Long: `Ends the wish of "connect": the sidecar says goodbye to the platform, closes the link, and leaves the device offline until
somebody connects it again. What is stored of it stays. Not an error for a device that is offline already.

Exit codes: 0 the link is closed; 1 failed; 2 wrong flags; 3 no sidecar; 5 timed out, and the link is being closed.`,
		Example: `    linkkit-sidecar disconnect
    linkkit-sidecar disconnect --device a1B2c3D4e5F/dev-001`,
	}, 30*time.Second, func(ctx context.Context, c *client) error {
		dev, err := theDevice(name)
		if err != nil {
			return err
		}
		response, err := c.Disconnect(ctx, &pb.DisconnectRequest{Device: dev})
		if err != nil {
			return err
		}
		return r.printStatus(response.GetStatus())
	})
	r.deviceFlag(cmd, &name, "the `device`, PRODUCT_KEY/DEVICE_NAME; default: the only one that the sidecar knows")
	o.connectionFlags(cmd)
	return cmd
}
