package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

// maxLine is what a message on a line of its own may be long: the platform takes no more.
const maxLine = 256 << 10

// linesAtOnce is how many messages go into one request of a stream.
const linesAtOnce = 64

type publishFlags struct {
	device, topic, text, file string
	hasText, stream           bool
	qos                       uint32
	stored                    bool
	ttl                       time.Duration
	priority                  uint32
	key                       string
}

// message is one with this payload.
func (f *publishFlags) message(id uint64, payload []byte) *pb.OutgoingMessage {
	m := &pb.OutgoingMessage{Id: id, Topic: f.topic, Payload: payload, Qos: &f.qos, Ttl: uint32(f.ttl / time.Second), Priority: f.priority, Key: f.key}
	if f.stored {
		m.Assurance = pb.Assurance_ASSURANCE_STORED
	}
	return m
}

func (r *run) publishCommand() *cobra.Command {
	var f publishFlags
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "publish TOPIC [MESSAGE]",
		Short: "Send messages of a device to the platform",
		Long: `Sends one message: the argument, or the content of --file, or of standard input. It returns when the platform has
acknowledged it (QoS 1), or when it was written to the link (--qos 0).

With --stored it returns when the message is on the sidecar's disk, whether the device is online or not. From there it is sent
in its turn, also after a restart, until the platform has it. "linkkit-sidecar status" shows how many wait.

With --stream each line of the file or of standard input is a message. They are sent in their order, many at a time, and what
became of those that were not acknowledged is told at the end.

The topic must be the device's own: /PRODUCT_KEY/DEVICE_NAME/user/… or /sys/PRODUCT_KEY/DEVICE_NAME/….

Exit codes: 0 acknowledged, or stored with --stored; 1 not, or not all; 2 wrong flags; 3 no sidecar; 5 timed out.`,
		Example: `    linkkit-sidecar publish /a1B2c3D4e5F/dev-001/user/update '{"temperature": 21}'
    linkkit-sidecar publish /a1B2c3D4e5F/dev-001/user/update --file photo.jpg --device a1B2c3D4e5F/dev-001
    linkkit-sidecar publish /a1B2c3D4e5F/dev-001/user/alarm fire --stored --priority 9 --ttl 3600 --key alarm-17
    sensor | linkkit-sidecar publish /a1B2c3D4e5F/dev-001/user/update --stream --timeout 0`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return errors.New("it takes a topic and at most one message; quote a message with blanks")
			}
			f.topic = args[0]
			if f.hasText = len(args) == 2; f.hasText {
				f.text = args[1]
			}
			return nil
		},
	}, 30*time.Second, func(ctx context.Context, c *client) error { return r.publish(ctx, c, &f) })
	fs := cmd.Flags()
	r.deviceFlag(cmd, &f.device, "the `device`, PRODUCT_KEY/DEVICE_NAME; may be left out when the sidecar knows one")
	fs.StringVarP(&f.file, "file", "f", "", "send the content of this `file`; - is standard input")
	fs.BoolVar(&f.stream, "stream", false, "each line is a message")
	fs.BoolVar(&f.stored, "stored", false, "return when it is on the sidecar's disk; it is sent when the device is online")
	fs.Var(config.Seconds(&f.ttl, 0), "ttl", "with --stored: drop it after so many `seconds` if it was not sent; 0: as the sidecar is set")
	fs.Uint32Var(&f.priority, "priority", 0, "with --stored: 0 to 9, those with a higher one go first")
	fs.StringVar(&f.key, "key", "", "with --stored: an idempotency `key`, so that the same message given twice is taken once")
	fs.Uint32Var(&f.qos, "qos", 1, "0 or 1: whether the platform acknowledges")
	o.connectionFlags(cmd)
	return cmd
}

func (r *run) publish(ctx context.Context, c *client, f *publishFlags) error {
	d, err := theDevice(f.device)
	if err != nil {
		return err
	}
	if f.stream && f.key != "" {
		return usage(errors.New("--key is for one message: --stream has many"))
	}
	if f.hasText && (f.file != "" || f.stream) {
		return usage(errors.New("a message as an argument goes without --file and --stream"))
	}
	in, err := r.input(f.file)
	if err != nil {
		return usage(err)
	}
	defer func() { _ = in.Close() }()
	service := pb.NewMessagingServiceClient(c.conn)
	if f.stream {
		return r.publishLines(ctx, service, d, f, in)
	}
	payload := []byte(f.text)
	if !f.hasText {
		if payload, err = io.ReadAll(io.LimitReader(in, maxLine+1)); err != nil {
			return err
		}
	}
	response, err := service.Publish(ctx, &pb.PublishRequest{
		Device: d, Message: f.message(0, payload),
	})
	if err != nil {
		return err
	}
	if r.output == outputJSON {
		err = printJSON(r.Stdout, response)
	} else {
		_, err = fmt.Fprintln(r.Stdout, outcomeText(response.GetOutcome()))
	}
	if o := response.GetOutcome(); err == nil && (o == pb.Outcome_OUTCOME_EXPIRED || o == pb.Outcome_OUTCOME_DROPPED) { // of the first with this key
		return &exitError{exitFailed, errors.New("the message with this key was not sent: give it again with another key")}
	}
	return err
}

// input is the file of that name, or standard input.
func (r *run) input(name string) (io.ReadCloser, error) {
	if name == "" || name == "-" {
		return io.NopCloser(r.Stdin), nil
	}
	return os.Open(name)
}

// publishLines sends each line as a message, and counts what became of them. What becomes of stored messages after they are on disk
// is not waited for.
func (r *run) publishLines(ctx context.Context, service pb.MessagingServiceClient, d *pb.Device, f *publishFlags, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := service.PublishStream(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	unanswered := &countdown{done: cancel}
	go func() {
		err := sendLines(stream, d, f, in, unanswered)
		sent <- err
		if f.stored {
			unanswered.close()
		}
	}()
	tally := r.newTally()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) || err != nil && unanswered.isDone() {
			break
		}
		if err != nil {
			tally.end()
			return err
		}
		for _, receipt := range response.GetReceipts() {
			if f.stored && receipt.GetSequence() > 0 && receipt.GetOutcome() != pb.Outcome_OUTCOME_STORED {
				continue // it was on disk before
			}
			if err := tally.add(receipt); err != nil {
				return err
			}
			unanswered.add(-1)
		}
	}
	tally.end()
	if err := <-sent; err != nil {
		return err
	}
	return tally.verdict()
}

// countdown calls done when it has been closed and is at zero.
type countdown struct {
	done func()

	mu           sync.Mutex
	count        int
	closed, over bool
}

func (c *countdown) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += n
	c.check()
}

func (c *countdown) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.check()
}

// check is called with mu held.
func (c *countdown) check() {
	if c.closed && c.count == 0 {
		c.over = true
		c.done()
	}
}

func (c *countdown) isDone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// sendLines reads lines and sends as many at once as are there.
func sendLines(stream pb.MessagingService_PublishStreamClient, d *pb.Device, f *publishFlags, in io.Reader, unanswered *countdown) error {
	reader := bufio.NewReaderSize(in, 64<<10)
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, maxLine+1)
	request := &pb.PublishStreamRequest{Device: d}
	flush := func() error {
		unanswered.add(len(request.GetMessages()))
		err := stream.Send(request)
		request = &pb.PublishStreamRequest{}
		if errors.Is(err, io.EOF) {
			return nil // the receiver learns why
		}
		return err
	}
	for id := uint64(1); lines.Scan(); id++ {
		request.Messages = append(request.Messages, f.message(id, append([]byte(nil), lines.Bytes()...)))
		// What has not been read yet may come much later.
		if len(request.Messages) >= linesAtOnce || reader.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(request.Messages) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), stream.CloseSend())
}

// tally counts receipts, and shows the count while it grows, to a person.
type tally struct {
	r      *run
	live   bool
	shown  time.Time
	counts map[pb.Outcome]int
	first  *pb.Receipt // that was neither acknowledged nor sent
}

func (r *run) newTally() *tally {
	out, ok := r.Stderr.(*os.File)
	return &tally{r: r, live: ok && r.output == outputHuman && term.IsTerminal(int(out.Fd())), counts: map[pb.Outcome]int{}}
}

func (t *tally) add(receipt *pb.Receipt) error {
	t.counts[receipt.GetOutcome()]++
	switch receipt.GetOutcome() {
	case pb.Outcome_OUTCOME_ACKNOWLEDGED, pb.Outcome_OUTCOME_SENT, pb.Outcome_OUTCOME_STORED:
	default:
		if t.first == nil {
			t.first = receipt
		}
	}
	if t.r.output == outputJSON {
		return printJSON(t.r.Stdout, receipt)
	}
	if t.live && time.Since(t.shown) > 200*time.Millisecond {
		t.shown = time.Now()
		_, _ = fmt.Fprintf(t.r.Stderr, "\r%d messages", t.total())
	}
	return nil
}

func (t *tally) total() (n int) {
	for _, c := range t.counts {
		n += c
	}
	return n
}

func (t *tally) end() {
	if t.live && !t.shown.IsZero() {
		_, _ = fmt.Fprint(t.r.Stderr, "\r\x1b[K")
	}
	if t.r.output != outputHuman {
		return
	}
	for outcome := pb.Outcome_OUTCOME_ACKNOWLEDGED; outcome <= pb.Outcome_OUTCOME_DROPPED; outcome++ {
		if n := t.counts[outcome]; n > 0 {
			_, _ = fmt.Fprintf(t.r.Stdout, "%d %s\n", n, outcomeText(outcome))
		}
	}
}

// verdict is an error when not all messages went well.
func (t *tally) verdict() error {
	if t.first == nil {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("message %d is the first that did not arrive for certain: %s", t.first.GetId(), t.first.GetDetail())}
}

func outcomeText(o pb.Outcome) string {
	switch o {
	case pb.Outcome_OUTCOME_ACKNOWLEDGED:
		return "acknowledged by the platform"
	case pb.Outcome_OUTCOME_SENT:
		return "sent"
	case pb.Outcome_OUTCOME_FAILED:
		return "failed, not sent"
	case pb.Outcome_OUTCOME_UNKNOWN:
		return "unknown: the link was lost before the acknowledgement"
	case pb.Outcome_OUTCOME_STORED:
		return "stored by the sidecar"
	case pb.Outcome_OUTCOME_EXPIRED:
		return "expired before it was sent"
	case pb.Outcome_OUTCOME_DROPPED:
		return "dropped from the outbox"
	default:
	}
	return "with an outcome that this version does not know"
}
