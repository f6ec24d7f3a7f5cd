package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

func (r *run) statusCommand() *cobra.Command {
	var name string
	var check bool
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "status",
		Short: "Tell where the sidecar stands with one device or with all",
		Long: `Tells of each device: its state and since when, the server, the next attempt, why the last attempt failed or the last link
ended, what kind of credential is stored and its fingerprint (never the secret), and what was counted since the sidecar
started. One device is told in full, several as a table.

States:
    idle        not to be online
    connecting  an attempt is under way
    online      the platform has accepted the device and the link is up
    waiting     the last attempt failed or the link was lost; another will follow
    rejected    the platform refused the first attempt; only another "connect" changes that

Exit codes: 0 told; 1 failed, such as for a device that is not known, or --check and a device is not online; 2 wrong flags;
3 no sidecar; 5 timed out.`,
		Example: `    linkkit-sidecar status
    linkkit-sidecar status --device a1B2c3D4e5F/dev-001
    linkkit-sidecar status --check --timeout 2 || echo "not online"
    linkkit-sidecar status --output json | jq -r 'select(.state != "LINK_STATE_ONLINE") | .device.device_name'`,
	}, 10*time.Second, func(ctx context.Context, c *client) error {
		dev, err := theDevice(name)
		if err != nil {
			return err
		}
		var all []*pb.DeviceStatus
		if dev != nil {
			response, err := c.GetDevice(ctx, &pb.GetDeviceRequest{Device: dev})
			if err != nil {
				return err
			}
			all = append(all, response.GetStatus())
		} else if err := eachDevice(ctx, c, func(s *pb.DeviceStatus) error { all = append(all, s); return nil }); err != nil {
			return err
		}
		if err := r.printStatuses(all); err != nil {
			return err
		}
		if check {
			return allOnline(all)
		}
		return nil
	})
	r.deviceFlag(cmd, &name, "the `device`, PRODUCT_KEY/DEVICE_NAME; default: all")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 unless there is a device and each one told is online")
	o.connectionFlags(cmd)
	return cmd
}

// eachDevice tells of all devices, page by page.
func eachDevice(ctx context.Context, c *client, tell func(*pb.DeviceStatus) error) error {
	for token := ""; ; {
		page, err := c.ListDevices(ctx, &pb.ListDevicesRequest{PageToken: token})
		if err != nil {
			return err
		}
		for _, s := range page.GetDevices() {
			if err := tell(s); err != nil {
				return err
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func allOnline(all []*pb.DeviceStatus) error {
	if len(all) == 0 {
		return errors.New("the sidecar knows no device")
	}
	for _, s := range all {
		if s.GetState() != pb.LinkState_LINK_STATE_ONLINE {
			return fmt.Errorf("%s is %s", deviceName(s.GetDevice()), stateName(s.GetState()))
		}
	}
	return nil
}

func (r *run) printStatuses(all []*pb.DeviceStatus) error {
	switch {
	case r.output == outputJSON || len(all) == 1:
		for _, s := range all {
			if err := r.printStatus(s); err != nil {
				return err
			}
		}
		return nil
	case len(all) == 0:
		_, err := fmt.Fprintln(r.Stdout, "the sidecar knows no device yet: `linkkit-sidecar connect` or `register` one")
		return err
	}
	return r.printTable(all)
}

func (r *run) printTable(all []*pb.DeviceStatus) error {
	table := tabwriter.NewWriter(r.Stdout, 0, 8, 2, ' ', 0)
	w := &lines{w: table}
	w.printf("DEVICE\tSTATE\tSINCE\tSERVER\tNEXT ATTEMPT\tLAST CAUSE\tCREDENTIAL\tLOGINS\tREFUSED\tLOST\n")
	now := time.Now()
	for _, s := range all {
		count := s.GetCounters()
		w.printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%d\t%d\n", deviceName(s.GetDevice()), stateName(s.GetState()), ago(s.GetStateTime(), now),
			dash(s.GetEndpoint()), dash(until(s.GetNextAttemptTime(), now)), dash(causeName(s.GetLastCause())), dash(shortCredential(s.GetCredential())),
			count.GetConnects(), count.GetAttempts(), count.GetRefusals(), count.GetLosses())
	}
	return errors.Join(w.err, table.Flush())
}

// printStatus tells all of one device.
func (r *run) printStatus(s *pb.DeviceStatus) error {
	if r.output == outputJSON {
		return printJSON(r.Stdout, s)
	}
	now := time.Now()
	w := &lines{w: r.Stdout}
	row := func(name, format string, args ...any) {
		w.printf("    %-12s "+format+"\n", append([]any{name}, args...)...)
	}
	w.printf("%s is %s, since %s (%s)\n", deviceName(s.GetDevice()), r.colour().state(s.GetState()), clock(s.GetStateTime()), ago(s.GetStateTime(), now))
	if s.GetEndpoint() != "" {
		row("server", "%s", s.GetEndpoint())
	}
	switch {
	case s.GetNextAttemptTime() != nil:
		row("next attempt", "%s, number %d", until(s.GetNextAttemptTime(), now), s.GetAttempt()+1)
	case s.GetState() == pb.LinkState_LINK_STATE_CONNECTING:
		row("attempt", "number %d is under way", s.GetAttempt())
	}
	if s.GetLastCause() != 0 {
		row("last cause", "%s, %s: %s", causeName(s.GetLastCause()), ago(s.GetLastCauseTime(), now), s.GetLastDetail())
	}
	if s.GetTakeoverSuspected() {
		row("takeover", "another program seems to log in as this device")
	}
	row("credential", "%s", describeCredential(s.GetCredential()))
	if s.GetRegistrationInterrupted() {
		row("registration", "one was interrupted: register again")
	}
	n := s.GetCounters()
	row("logins", "%s tried, %d accepted, %d refused; %s lost",
		plural(n.GetAttempts(), "was", "were"), n.GetConnects(), n.GetRefusals(), plural(n.GetLosses(), "link", "links"))
	row("traffic", "%s in, %s out", bytesText(n.GetBytesReceived()), bytesText(n.GetBytesSent()))
	if n.GetMessagesUnclaimed() > 0 {
		row("messages", "%s that nobody had asked for", plural(n.GetMessagesUnclaimed(), "message", "messages"))
	}
	if n.GetMessagesSent() > 0 {
		row("sent", "%s", plural(n.GetMessagesSent(), "message", "messages"))
	}
	if n.GetMessagesUnknown() > 0 {
		row("unknown", "%s whose acknowledgement had not come when the link was lost", plural(n.GetMessagesUnknown(), "message", "messages"))
	}
	q := s.GetQueue()
	if q.GetStoredMessages() > 0 {
		row("outbox", "%s, %s; the oldest %s",
			plural(q.GetStoredMessages(), "message", "messages"), bytesText(q.GetStoredBytes()), ago(q.GetOldestStoredTime(), now))
	}
	if dropped := n.GetStoredExpired() + n.GetStoredDropped() + n.GetStoredRefused(); dropped > 0 {
		row("not stored", "%d expired, %d dropped, %d refused", n.GetStoredExpired(), n.GetStoredDropped(), n.GetStoredRefused())
	}
	if q.GetShaped() {
		row("rate", "messages wait: %g a second, %g bytes a second", q.GetMaxMessagesPerSecond(), q.GetMaxBytesPerSecond())
	}
	return w.err
}
