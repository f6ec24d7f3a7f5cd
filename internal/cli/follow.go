package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// errEnough ends following without being a failure.
var errEnough = errors.New("enough")

// follower reads events, and goes on where it was after the sidecar has restarted.
type follower struct {
	client  *client
	request *pb.EventsRequest // its `after` moves along
	once    bool              // the end of the stream is the end
	tell    func(*pb.EventsResponse) error
	notice  func(string) // of gaps between two streams

	heard bool // the sidecar has answered: what fails from now on may come back
}

// pause between two streams: a sidecar that ends each at once must not be asked in a tight loop.
const pause = 200 * time.Millisecond

// run follows until ctx ends, or tell returns an error.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.stream(ctx)
		switch {
		case errors.Is(err, errEnough):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case f.once || !f.heard || !comesBack(err):
			return err
		}
		f.notice(fmt.Sprintf("the sidecar ended the stream (%s); waiting for it to come back, to go on after %s",
			failureOf(err).Message, cursorText(f.request.GetAfter())))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream follows one stream to its end; the error is never nil.
func (f *follower) stream(ctx context.Context) error {
	// gRPC would tell the sidecar of the deadline, which may then end the stream first, as if something had failed.
	asked := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(asked))
	defer cancel()
	stop := context.AfterFunc(asked, cancel)
	defer stop()
	events, err := f.client.Events(ctx, f.request, grpc.WaitForReady(f.heard))
	if err != nil {
		return err
	}
	for {
		e, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "it gave no reason")
		}
		if err != nil {
			return err
		}
		f.heard = true
		if err := f.tell(e); err != nil {
			return err
		}
		f.request.After = e.GetCursor()
	}
}

// comesBack reports whether an error is of the kind that a restart of the sidecar causes.
func comesBack(err error) bool { return status.Code(err) == codes.Unavailable }

// beginning finds the place before all that the journal holds.
func beginning(ctx context.Context, c *client) (*pb.Cursor, error) {
	f := &follower{client: c, request: &pb.EventsRequest{}, once: true}
	var epoch string
	f.tell = func(e *pb.EventsResponse) error { epoch = e.GetCursor().GetEpoch(); return errEnough }
	err := f.run(ctx)
	return &pb.Cursor{Epoch: epoch}, err
}
