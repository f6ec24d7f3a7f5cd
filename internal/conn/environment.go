package conn

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace"
)

// Desired keeps on disk what is wanted of devices. *store.DB does.
type Desired interface {
	PutDesired(id device.ID, record []byte) error
	DeleteDesired(id device.ID) error
	Desired() (map[device.ID][]byte, error)
}

// Options are what a Set needs. Log may be nil; the rest of the first block must be there.
type Options struct {
	Credentials *credential.Store
	Desired     Desired
	Events      *event.Log
	Log         *slog.Logger

	// ExtraCA are trusted beside the built-in roots, for all devices.
	ExtraCA []*x509.Certificate
	// Version is what the platform is told of ours; "" tells nothing.
	Version string
	// ConnectsPerMinute is how many logins of one device there may be in any minute. 0 is no limit.
	ConnectsPerMinute int
	// Queues keep what is on its way on disk; nil keeps nothing, and takes no STORED message.
	Queues message.Queues
	// Outbox bounds each device's outbox.
	Outbox outbox.Options
	// Inbox bounds each inbox.
	Inbox inbox.Options
	// Rates bound what each device sends.
	Rates Rates
	// Tracer records what becomes of messages and logins; nil records nothing.
	Tracer *trace.Tracer
	// Handshakes is how many attempts may be under way at once in the process. 0 is DefaultHandshakes.
	Handshakes int
}

// DefaultHandshakes is where more at once only makes each slower: they are bound by the processor, on both sides.
const DefaultHandshakes = 32

// environment is what all keepers share.
type environment struct {
	credentials       *credential.Store
	desired           Desired
	events            *event.Log
	log               *slog.Logger
	dialer            *dialer
	open              func(context.Context, attempt) (link, error) // dialer.openMQTT, but for tests
	version           string
	connectsPerMinute int
	handshakes        *handshakes
	queues            message.Queues // nil: none
	outbox            outbox.Options
	inbox             inbox.Options
	rates             Rates
	measures          *measures
	tracer            *trace.Tracer // may be nil
}

func newEnvironment(o Options) *environment {
	d := newDialer(o.ExtraCA)
	env := &environment{
		credentials: o.Credentials, desired: o.Desired, events: o.Events, log: o.Log, dialer: d, open: d.openMQTT,
		version: o.Version, connectsPerMinute: o.ConnectsPerMinute, outbox: o.Outbox, inbox: o.Inbox, rates: o.Rates,
		measures: newMeasures(), tracer: o.Tracer,
	}
	env.outbox.OnDisk, env.inbox.Counters = env.measures.stored.onDisk, &env.measures.deliveries
	if o.Queues != nil {
		env.queues = storedQueues{o.Queues}
	}
	if env.log == nil {
		env.log = slog.New(slog.DiscardHandler)
	}
	if o.Handshakes <= 0 {
		o.Handshakes = DefaultHandshakes
	}
	env.handshakes = newHandshakes(o.Handshakes)
	return env
}

// wanted is what is written down of a device that is to be online.
type wanted struct {
	Settings Settings `json:"settings"`
	// Established: the platform has accepted the device with these settings. A refusal from then on is not the end.
	Established bool `json:"established"`
}

// remember writes down that a device is wanted.
func (env *environment) remember(id device.ID, w wanted) error {
	record, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return storage(env.desired.PutDesired(id, record))
}

// credentialFor is what to log in with: the candidate where there is one. The error is ErrNotFound when there is neither.
func (env *environment) credentialFor(id device.ID) (c credential.Credential, candidate bool, err error) {
	c, err = env.credentials.Candidate(id)
	if err == nil || !errors.Is(err, credential.ErrNotFound) {
		return c, true, err
	}
	c, err = env.credentials.Get(id)
	return c, false, err
}

// credentialInfo describes what is stored of a device: the credential that the platform accepted, or else the candidate.
func (env *environment) credentialInfo(id device.ID) *event.CredentialInfo {
	c, err := env.credentials.Get(id)
	if errors.Is(err, credential.ErrNotFound) {
		c, err = env.credentials.Candidate(id)
	}
	if err != nil {
		return nil // one that cannot be used is logged where it is found to be so
	}
	return describeCredential(c)
}
