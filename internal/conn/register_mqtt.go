package conn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// replyTimeout is how long the credential may take after CONNACK. The platform sends it at once, and closes after
// platform.RegistrationWindow.
const replyTimeout = platform.RegistrationWindow

// obtain asks the platform for a credential. Errors are *Failure, *platform.RegistrationRefusedError, or one of this room's own.
func (env *environment) obtain(ctx context.Context, k *Keeper, r RegisterRequest) (platform.Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultSettings().ConnectTimeout+replyTimeout)
	defer cancel()
	var (
		got platform.Registered
		err error
	)
	if r.Registration.Method == platform.HTTPSLegacy {
		got, err = env.obtainHTTPS(ctx, r)
	} else {
		k.loggingIn()
		got, err = env.obtainMQTT(ctx, r)
	}
	if err != nil && errors.Is(context.Cause(ctx), errShutdown) {
		return platform.Registered{}, fmt.Errorf("%w: the registration was cut off: %w", ErrShuttingDown, err)
	}
	return got, err
}

type reply struct {
	got platform.Registered
	err error
}

// obtainMQTT logs in for the registration and waits for the credential that the platform sends unasked.
func (env *environment) obtainMQTT(ctx context.Context, r RegisterRequest) (platform.Registered, error) {
	replies := make(chan reply, 1)
	settings := DefaultSettings()
	settings.Target = r.Target
	opening, cancel := context.WithTimeout(ctx, settings.ConnectTimeout)
	defer cancel()
	l, err := env.open(opening, attempt{
		id: r.Registration.ID, settings: settings, login: r.Registration.Login(), registering: true,
		onMessage: func(m message.Incoming, ack func()) {
			ack()
			got, mine, err := platform.ParseRegistrationReply(r.Registration, m.Topic, m.Payload)
			if !mine {
				return
			}
			select {
			case replies <- reply{got, err}:
			default: // only the first counts
			}
		},
	})
	if err != nil {
		f := asFailure(err)
		f.mayHaveRegistered = !f.Refused() && f.Cause >= event.CauseConnackTimeout // CONNECT had gone out
		return platform.Registered{}, f
	}
	defer closeLink(l)
	timeout := time.NewTimer(replyTimeout)
	defer timeout.Stop()
	select {
	case got := <-replies:
		return got.got, unusable(got.err)
	case <-l.Done():
	case <-timeout.C:
		return platform.Registered{}, ErrRegistrationNoReply
	case <-ctx.Done():
		return platform.Registered{}, &Failure{
			Cause: event.CauseShutdown, Err: context.Cause(ctx), Registering: true, mayHaveRegistered: true, Detail: "the registration was cut off",
		}
	}
	select { // the reply may have come just before the end
	case got := <-replies:
		return got.got, unusable(got.err)
	default:
	}
	f := *l.Failure()
	f.Registering, f.mayHaveRegistered = true, true
	f.Detail = "the link was lost before the credential came: " + f.Detail
	return platform.Registered{}, &f
}

func unusable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRegistrationReply, err)
}
