package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

func (r *run) subscribeCommand() *cobra.Command {
	var name string
	var filters []string
	var count uint64
	var consumer string
	var replace bool
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "subscribe FILTER...",
		Short: "Show messages from the platform to a device",
		Long: `Shows the messages that match topic filters, with MQTT's wildcards + and #, for as long as it runs. The device need not be
online: it is subscribed when it is, and again after each loss of the link. That the platform granted the filters, and how
many messages were missed because they were not taken in time, is told on standard error.

With --consumer NAME the messages come from an inbox of that name, a queue on the sidecar's disk: it collects what matches, also
while nobody shows it, until it is deleted; each message leaves it when it has been shown. Several that name the same inbox
share its messages. The filters may be left out when the inbox is there already.

Exit codes: 0 --count messages came; 1 refused or broken; 2 wrong flags; 3 no sidecar; 5 timed out; 130 interrupted.`,
		Example: `    linkkit-sidecar subscribe /a1B2c3D4e5F/dev-001/user/get
    linkkit-sidecar subscribe '/sys/a1B2c3D4e5F/dev-001/#' --output json --count 10
    linkkit-sidecar subscribe /a1B2c3D4e5F/dev-001/user/get --consumer billing`,
		Args: func(_ *cobra.Command, args []string) error {
			if filters = args; len(args) == 0 && consumer == "" {
				return errors.New("it takes one or more topic filters, such as /PRODUCT_KEY/DEVICE_NAME/user/get")
			}
			return nil
		},
	}, 0, func(ctx context.Context, c *client) error {
		d, err := theDevice(name)
		if err != nil {
			return err
		}
		if consumer != "" {
			return r.showInbox(ctx, pb.NewMessagingServiceClient(c.conn), &pb.OpenInbox{
				Device: d, Inbox: consumer, Filters: filters, Replace: replace, MaxUnanswered: uint32(min(count, 100)), // 0 is the default
			}, count)
		}
		stream, err := pb.NewMessagingServiceClient(c.conn).Subscribe(ctx, &pb.SubscribeRequest{Device: d, Filters: filters})
		if err != nil {
			return err
		}
		return r.showMessages(stream, count)
	})
	r.deviceFlag(cmd, &name, "the `device`, PRODUCT_KEY/DEVICE_NAME; may be left out when the sidecar knows one")
	cmd.Flags().Uint64VarP(&count, "count", "n", 0, "end after so many `messages`")
	cmd.Flags().StringVar(&consumer, "consumer", "", "show, and take out, the messages of the inbox of this `name`")
	cmd.Flags().BoolVar(&replace, "replace", false, "with --consumer: give the inbox these filters when it has others")
	cmd.Flags().Var(config.Seconds(&o.timeout, 0), "timeout", "end after so many `seconds`; 0 never")
	o.connectionFlags(cmd)
	return cmd
}

func (r *run) showMessages(stream pb.MessagingService_SubscribeClient, count uint64) error {
	for shown := uint64(0); ; {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if batch.GetGranted() {
			_, _ = fmt.Fprintln(r.Stderr, "linkkit-sidecar: the platform granted the subscription")
		}
		if n := batch.GetMissed(); n > 0 {
			_, _ = fmt.Fprintf(r.Stderr, "linkkit-sidecar: %d messages were missed: they were not taken in time\n", n)
		}
		for _, m := range batch.GetMessages() {
			if err := r.showMessage(m); err != nil {
				return &exitError{exitFailed, err}
			}
			shown++
			if shown == count {
				return nil
			}
		}
	}
}

func (r *run) showMessage(m *pb.IncomingMessage) error {
	if r.output == outputJSON {
		return printJSON(r.Stdout, m)
	}
	text := fmt.Sprintf("%d bytes that are no text", len(m.GetPayload()))
	if utf8.Valid(m.GetPayload()) {
		text = printable(string(m.GetPayload()))
	}
	_, err := fmt.Fprintf(r.Stdout, "%s  %s  %s\n", m.GetReceiveTime().AsTime().Local().Format("15:04:05.000"), m.GetTopic(), text)
	return err
}
