package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func (r *run) inboxesCommand() *cobra.Command {
	var device, remove string
	var force bool
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "inboxes",
		Short: "Tell of a device's inboxes, or delete one",
		Long: `Tells of the inboxes of a device: queues on the sidecar's disk, made by "subscribe --consumer" and by apps, that collect messages
until they are dealt with. An inbox goes on collecting, and drops its oldest messages when it is full, until it is deleted.

Exit codes: 0 told, or deleted; 1 failed, such as because there are messages in it; 2 wrong flags; 3 no sidecar; 5 timed out.`,
		Example: `    linkkit-sidecar inboxes
    linkkit-sidecar inboxes --device a1B2c3D4e5F/dev-001 --delete billing --force`,
	}, 10*time.Second, func(ctx context.Context, c *client) error {
		d, err := theDevice(device)
		if err != nil {
			return err
		}
		service := pb.NewMessagingServiceClient(c.conn)
		if remove != "" {
			return r.deleteInbox(ctx, service, &pb.DeleteInboxRequest{Device: d, Inbox: remove, Force: force})
		}
		if force {
			return usage(errors.New("--force goes with --delete"))
		}
		response, err := service.ListInboxes(ctx, &pb.ListInboxesRequest{Device: d})
		if err != nil {
			return err
		}
		return r.printInboxes(response.GetInboxes())
	})
	r.deviceFlag(cmd, &device, "the `device`, PRODUCT_KEY/DEVICE_NAME; may be left out when the sidecar knows one")
	cmd.Flags().StringVar(&remove, "delete", "", "delete the inbox of this `name`, and its subscription")
	cmd.Flags().BoolVar(&force, "force", false, "with --delete: although there are messages in it")
	o.connectionFlags(cmd)
	return cmd
}

func (r *run) deleteInbox(ctx context.Context, service pb.MessagingServiceClient, request *pb.DeleteInboxRequest) error {
	response, err := service.DeleteInbox(ctx, request)
	if err != nil {
		return err
	}
	if r.output == outputJSON {
		return printJSON(r.Stdout, response)
	}
	_, err = fmt.Fprintf(r.Stdout, "the inbox %s is deleted\n", request.GetInbox())
	return err
}

func (r *run) printInboxes(all []*pb.Inbox) error {
	if r.output == outputJSON {
		for _, i := range all {
			if err := printJSON(r.Stdout, i); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(r.Stdout, "the device has no inbox yet: `linkkit-sidecar subscribe FILTER --consumer NAME` makes one")
		return err
	}
	table := tabwriter.NewWriter(r.Stdout, 0, 8, 2, ' ', 0)
	w := &lines{w: table}
	w.printf("INBOX\tMESSAGES\tSIZE\tOLDEST\tUNANSWERED\tCONSUMERS\tFILTERS\n")
	now := time.Now()
	for _, i := range all {
		oldest := "–"
		if i.GetOldestTime() != nil {
			oldest = ago(i.GetOldestTime(), now)
		}
		w.printf("%s\t%d\t%s\t%s\t%d\t%d\t%s\n", i.GetInbox(), i.GetMessages(), bytesText(i.GetBytes()), oldest,
			i.GetUnanswered(), i.GetConsumers(), strings.Join(i.GetFilters(), " "))
	}
	return errors.Join(w.err, table.Flush())
}
