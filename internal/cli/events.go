package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

// eventKinds are the words for EventKind, in its order.
var eventKinds = func() []string {
	words := make([]string, 0, len(pb.EventKind_name))
	for n := int32(1); pb.EventKind_name[n] != ""; n++ {
		words = append(words, strings.ReplaceAll(word(pb.EventKind(n), "EVENT_KIND_"), " ", "-"))
	}
	return words
}()

type eventsFlags struct {
	devices    []string
	kinds      []string
	after      string
	cursorFile string
	history    bool
	count      uint64
	once       bool
}

func (r *run) eventsCommand() *cobra.Command {
	var f eventsFlags
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "events",
		Short: "Show what happens to the devices, as it happens",
		Long: `Shows where the devices stand, then every change: attempts, logins, refusals, losses with their causes, registrations,
warnings. In a terminal it is a live coloured log (NO_COLOR switches colours off); with --output json each line is one
EventsResponse, whose cursor is a place to go on from.

When the sidecar stops, this waits for it to come back and goes on where it was: nothing is missed that its journal still
holds, and what is gone from the journal is told as "events lost". --once ends with the stream instead.

Kinds: ` + wrapped(eventKinds) + `

It ends with Ctrl-C, after --count events, or when --timeout has passed: exit code 0. Other exit codes: 1 failed;
2 wrong flags; 3 no sidecar.`,
		Example: `    linkkit-sidecar events
    linkkit-sidecar events --device a1B2c3D4e5F/dev-001 --kind lost,refused
    linkkit-sidecar events --history --timeout 2                     # what the journal holds
    linkkit-sidecar events --output json --cursor-file seen.cursor   # nothing twice, nothing missed, over restarts of both
    linkkit-sidecar events --kind online --count 1 --timeout 60      # wait until something is online`,
	}, 0, func(ctx context.Context, c *client) error {
		if err := r.follow(ctx, c, &f); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	fs := cmd.Flags()
	fs.StringSliceVarP(&f.devices, "device", "d", nil, "only this `device`, PRODUCT_KEY/DEVICE_NAME; repeatable")
	_ = cmd.RegisterFlagCompletionFunc("device", r.completeDevice)
	fs.StringSliceVarP(&f.kinds, "kind", "k", nil, "only events of this `kind`; repeatable")
	complete(cmd, "kind", eventKinds)
	fs.StringVar(&f.after, "after", "", "go on after this `place`, EPOCH:SEQUENCE, as the cursor of an event says")
	fs.StringVar(&f.cursorFile, "cursor-file", "", "go on after the place in this `file`, and keep it up to date")
	fs.BoolVar(&f.history, "history", false, "begin with all that the journal holds")
	fs.Uint64VarP(&f.count, "count", "n", 0, "end after so many `events`; where things stand at first does not count")
	fs.BoolVar(&f.once, "once", false, "end when the sidecar ends the stream")
	fs.Var(config.Seconds(&o.timeout, 0), "timeout", "end after so many `seconds`; 0 never")
	cmd.MarkFlagsMutuallyExclusive("after", "cursor-file", "history")
	o.connectionFlags(cmd)
	return cmd
}

// follow shows events until there is a reason to end.
func (r *run) follow(ctx context.Context, c *client, f *eventsFlags) error {
	request, err := f.request(ctx, c)
	if err != nil {
		return err
	}
	printer := r.eventPrinter()
	var told uint64
	reader := &follower{client: c, request: request, once: f.once, notice: func(text string) {
		_, _ = fmt.Fprintln(r.Stderr, "linkkit-sidecar: "+printable(text))
	}}
	reader.tell = func(e *pb.EventsResponse) error {
		if r.output == outputJSON {
			err = printJSON(r.Stdout, e)
		} else {
			err = printer.print(e)
		}
		if err != nil {
			return &exitError{exitFailed, err}
		}
		if err := f.keepCursor(e); err != nil {
			return err
		}
		if e.GetSnapshot() == nil {
			told++
		}
		if f.count > 0 && told >= f.count {
			return errEnough
		}
		return nil
	}
	return reader.run(ctx)
}

// request is what the flags ask for.
func (f *eventsFlags) request(ctx context.Context, c *client) (*pb.EventsRequest, error) {
	request := &pb.EventsRequest{}
	for _, name := range f.devices {
		d, err := neededDevice(name)
		if err != nil {
			return nil, err
		}
		request.Devices = append(request.Devices, d)
	}
	for _, kind := range f.kinds {
		i := slices.Index(eventKinds, strings.ReplaceAll(kind, "_", "-"))
		if i < 0 {
			return nil, usage(fmt.Errorf("--kind %s must be one of %s", quoted(kind), strings.Join(eventKinds, ", ")))
		}
		request.Kinds = append(request.Kinds, pb.EventKind(i+1))
	}
	var err error
	switch {
	case f.after != "":
		if request.After, err = parseCursor(f.after); err != nil {
			return nil, usage(fmt.Errorf("--after: %w", err))
		}
	case f.cursorFile != "":
		request.After, err = f.readCursor()
	case f.history:
		request.After, err = beginning(ctx, c)
	}
	return request, err
}

// readCursor reads the file; one that is not there yet is nil.
func (f *eventsFlags) readCursor() (*pb.Cursor, error) {
	text, err := os.ReadFile(f.cursorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, usage(fmt.Errorf("--cursor-file: %w", err))
	}
	cursor, err := parseCursor(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, usage(fmt.Errorf("--cursor-file %s: %w; remove the file to begin with now", f.cursorFile, err))
	}
	return cursor, nil
}

// keepCursor writes the place after an event that was told. A reader that is killed between two steps is told an event again,
// never too little.
func (f *eventsFlags) keepCursor(e *pb.EventsResponse) error {
	if f.cursorFile == "" || e.GetCursor() == nil {
		return nil
	}
	next := f.cursorFile + ".next"
	err := os.WriteFile(next, []byte(cursorText(e.GetCursor())+"\n"), 0o600)
	if err == nil {
		err = os.Rename(next, f.cursorFile)
	}
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("--cursor-file: %w", err)}
	}
	return nil
}

func parseCursor(s string) (*pb.Cursor, error) {
	epoch, number, ok := strings.Cut(s, ":")
	sequence, err := strconv.ParseUint(number, 10, 64)
	if !ok || epoch == "" || err != nil {
		return nil, fmt.Errorf("%s must be EPOCH:SEQUENCE", quoted(s))
	}
	return &pb.Cursor{Epoch: epoch, Sequence: sequence}, nil
}

func cursorText(c *pb.Cursor) string { return fmt.Sprintf("%s:%d", c.GetEpoch(), c.GetSequence()) }

// wrapped is a list of words in lines of a help text.
func wrapped(words []string) string {
	const width = 110
	var text strings.Builder
	column := 0
	for i, w := range words {
		if i < len(words)-1 {
			w += ", "
		}
		if column += len(w); column > width {
			text.WriteString("\n    ")
			column = len(w)
		}
		text.WriteString(w)
	}
	return text.String()
}
