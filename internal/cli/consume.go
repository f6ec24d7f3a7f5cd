package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// showInbox shows the messages of an inbox. Each leaves it when it has been shown.
func (r *run) showInbox(ctx context.Context, service pb.MessagingServiceClient, open *pb.OpenInbox, count uint64) error {
	stream, err := service.Consume(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.ConsumeRequest{Open: open}); err != nil && !errors.Is(err, io.EOF) { // then Recv says why
		return err
	}
	v := &inboxViewer{run: r, stream: stream, count: count}
	for {
		batch, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := v.show(batch); err != nil {
			return err
		}
		if count > 0 && v.settled >= count {
			return nil
		}
	}
}

// inboxViewer shows an inbox.
type inboxViewer struct {
	*run
	stream         pb.MessagingService_ConsumeClient
	count          uint64 // how many to show; 0 is all
	shown, settled uint64
}

func (v *inboxViewer) show(batch *pb.ConsumeResponse) error {
	if batch.GetGranted() {
		_, _ = fmt.Fprintln(v.Stderr, "linkkit-sidecar: the platform granted the subscription")
	}
	if n := batch.GetMissed(); n > 0 {
		_, _ = fmt.Fprintf(v.Stderr, "linkkit-sidecar: the inbox was full and dropped %s\n", plural(n, "message", "messages"))
	}
	if n := len(batch.GetStale()); n > 0 {
		_, _ = fmt.Fprintf(v.Stderr, "linkkit-sidecar: %s took too long to show and will come again\n", plural(uint64(n), "message", "messages"))
	}
	v.settled += uint64(len(batch.GetSettled()))
	var done []*pb.Answer
	for _, d := range batch.GetDeliveries() {
		if v.count > 0 && v.shown >= v.count {
			break // they come again to whoever consumes next
		}
		if err := v.showMessage(d.GetMessage()); err != nil {
			return &exitError{exitFailed, err}
		}
		v.shown++
		done = append(done, &pb.Answer{Delivery: d.GetDelivery(), Verdict: pb.Verdict_VERDICT_DONE})
	}
	if len(done) == 0 {
		return nil
	}
	err := v.stream.Send(&pb.ConsumeRequest{Answers: done})
	if errors.Is(err, io.EOF) {
		return nil // Recv says why
	}
	return err
}
