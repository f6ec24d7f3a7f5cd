package conn

import (
	"errors"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// tracedLink is what spans tell of the link that is up.
func (k *Keeper) tracedLink() trace.Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return trace.Link{Number: k.status.Counters.Connects, Address: k.status.Endpoint}
}

// traceStored records how long messages took to the disk.
func (p *Publisher) traceStored(together []message.Outgoing, err error) {
	if p.k.env.tracer == nil {
		return
	}
	for _, m := range together {
		p.k.env.tracer.Store(m, p.k.id, len(together), traceKind(err), err)
	}
}

// traceKind names an error for machines, as events do.
func traceKind(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Cause.String()
	}
	if _, ok := errors.AsType[*platform.RegistrationRefusedError](err); ok {
		return event.CauseRegistrationRefused.String()
	}
	switch {
	case errors.Is(err, ErrRegistrationNoReply):
		return event.CauseRegistrationNoReply.String()
	case errors.Is(err, ErrUnacknowledged):
		return "unacknowledged"
	case errors.Is(err, ErrStorage):
		return "storage"
	}
	return "other"
}
