package conn

import (
	"errors"
	"fmt"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// Why a Set does not do what it was asked. What the platform, or the way to it, did not do is a *Failure; what cannot be asked at
// all is a *platform.FieldError or device.ErrInvalidID.
var (
	// ErrUnknownDevice: the sidecar does not know the device.
	ErrUnknownDevice = errors.New("the sidecar does not know the device: connect or register it first")
	// ErrAmbiguousDevice: no device was named and the sidecar does not know exactly one.
	ErrAmbiguousDevice = errors.New("no device was named, and the sidecar does not know exactly one: name it")
	// ErrSettingsConflict: the device is wanted with other settings or another credential.
	ErrSettingsConflict = errors.New("the device is wanted online with other settings: give `replace` to change them for everybody, or disconnect it first")
	// ErrNoCredential: nothing to log in with. A *Failure with CauseNoCredential is one too.
	ErrNoCredential = errors.New("the sidecar has no credential for the device: register it, or give one with Connect")
	// ErrCredentialExists: Register without Replace, and there is a credential.
	ErrCredentialExists = errors.New("a credential is stored for the device: connect with it, or give `replace` to register again")
	// ErrRegistrationInProgress: one registration of a device at a time.
	ErrRegistrationInProgress = errors.New("another registration of the device is under way: wait for its outcome")
	// ErrStillConnected: Forget without force, and the device is wanted online.
	ErrStillConnected = errors.New("the device is wanted online: disconnect it first, or give `force`")
	// ErrSuperseded: another call ended or replaced what this one waited for.
	ErrSuperseded = errors.New("another call ended or replaced what this call waited for")
	// ErrShuttingDown: the sidecar is stopping.
	ErrShuttingDown = errors.New("the sidecar is stopping")
	// ErrStorage is in the chain of every failure of the state directory, statedir.ErrDiskFull apart.
	ErrStorage = errors.New("the state directory failed")
	// ErrNotOnline: nothing was sent.
	ErrNotOnline = errors.New("the device is not online: connect it, or wait until it is back")
	// ErrQueueFull: nothing was sent; max_queued messages wait for their turn.
	ErrQueueFull = errors.New("as many messages of the device wait for their turn as max_queued permits: send slower")
	// ErrUnacknowledged: the message was sent and its acknowledgement did not come.
	ErrUnacknowledged = errors.New("the link was lost before the platform acknowledged the message: the platform may have it")
	// ErrFilterRefused: SUBACK refused a topic filter.
	ErrFilterRefused = errors.New("the platform refused the subscription: check that the topic's class exists and that the device may subscribe to it")
	// ErrTooManyFilters: the platform takes platform.MaxSubscriptions of a device.
	ErrTooManyFilters = fmt.Errorf("the device has the %d subscriptions that the platform takes: use wildcards, or end some", platform.MaxSubscriptions)
	// ErrCallUnknown: nothing was sent.
	ErrCallUnknown = errors.New("no call has this id on this stream")
	// ErrCallAnswered: nothing was sent.
	ErrCallAnswered = errors.New("the call has been answered: a call takes one answer")
	// ErrCallExpired: nothing was sent.
	ErrCallExpired = fmt.Errorf("the call can no longer be answered: the platform waits for %s at most", platform.RRPCDeadline)
	// ErrRegistrationReply: the platform took the registration and its reply cannot be used.
	ErrRegistrationReply = errors.New("the registration's reply cannot be used")
	// ErrRegistrationNoReply: the platform took the registration and sent no credential.
	ErrRegistrationNoReply = errors.New("the platform accepted the registration and sent no credential in time: register again")
)

// Is makes errors.Is find ErrNoCredential in the Failure of a vigil that has none.
func (f *Failure) Is(target error) bool {
	return target == ErrNoCredential && f.Cause == event.CauseNoCredential
}

// storage marks a failure of the state directory. A full disk is told apart: it passes.
func storage(err error) error {
	if err == nil || errors.Is(err, statedir.ErrDiskFull) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
