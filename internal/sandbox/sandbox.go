package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"
)

// DefaultConnectsPerMinute is the platform's limit of logins of one device.
const DefaultConnectsPerMinute = 5

// Options say what sandbox to make. An address that is empty is a door that stays closed; port 0 is any free port.
type Options struct {
	// StateDir holds the certificate authority. It is made when it is missing.
	StateDir string
	// Fixture has the products and devices to begin with.
	Fixture Fixture
	// FixtureFile is read instead of Fixture unless it is empty.
	FixtureFile string
	// MQTTAddress, HOST:PORT, takes plain MQTT and MQTT over TLS on one port, as the platform's port 1883 does.
	MQTTAddress string
	// MQTTSAddress takes MQTT over TLS only, as the platform's port 8883 does.
	MQTTSAddress string
	// HTTPSAddress takes the legacy registration over HTTPS, as the platform's port 443 does.
	HTTPSAddress string
	// ControlAddress is where the gRPC SandboxService listens: unix:///PATH, or HOST:PORT with a loopback host.
	ControlAddress string
	// Log gets what happens; nil: nothing is logged.
	Log *slog.Logger
	// Strict refuses what a lenient sandbox only warns of, where it is not known what the platform does: a securemode that does
	// not fit the connection (CONNACK 4), and messages on foreign topics or of too great a size (the connection is closed). It also
	// drops what a device publishes beyond 30 messages or 1,024 KB in a second, after acknowledging it, as the platform does.
	Strict bool
	// RefusePlainTCP answers logins without TLS with CONNACK 5, as instances do that do not permit them.
	RefusePlainTCP bool
	// ConnectsPerMinute is how many logins of one device are taken in any 60 seconds; more get CONNACK 3. Registrations do not
	// count. 0 is DefaultConnectsPerMinute; less than 0 is no limit.
	ConnectsPerMinute int
	// KeepMessages is how many messages of each device are kept, 1 to MaxKeepMessages; 0 is DefaultKeepMessages.
	KeepMessages int
}

// Addresses are where a sandbox listens. Its JSON is the ready line.
type Addresses struct {
	MQTT    string `json:"mqtt"`    // HOST:PORT
	MQTTS   string `json:"mqtts"`   // HOST:PORT
	HTTPS   string `json:"https"`   // HOST:PORT
	Control string `json:"control"` // unix:///PATH or HOST:PORT
	// CAFile is the certificate that devices must trust, in PEM.
	CAFile string `json:"ca_file"`
}

// Sandbox is a platform whose doors are open. Make one with New, and then Run it.
type Sandbox struct {
	cloud                       *cloud
	ca                          *authority
	mqtt, mqtts, https, control net.Listener // nil: closed
}

// New reads the fixture and the certificate authority and opens the doors. It starts nothing: until Run, devices wait.
func New(o Options) (*Sandbox, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ConnectsPerMinute == 0 {
		o.ConnectsPerMinute = DefaultConnectsPerMinute
	}
	if o.FixtureFile != "" {
		var err error
		if o.Fixture, err = ReadFixture(o.FixtureFile); err != nil {
			return nil, err
		}
	}
	cloud, err := newCloud(o)
	if err != nil {
		return nil, err
	}
	ca, err := openAuthority(o.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{cloud: cloud, ca: ca}
	if err := s.openDoors(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sandbox) openDoors(o Options) (err error) {
	for _, d := range []struct {
		what, address string
		listener      *net.Listener
	}{
		{"MQTT", o.MQTTAddress, &s.mqtt},
		{"MQTT over TLS", o.MQTTSAddress, &s.mqtts},
		{"HTTPS", o.HTTPSAddress, &s.https},
	} {
		if d.address == "" {
			continue
		}
		if *d.listener, err = listen(d.what, d.address, o.Log); err != nil {
			return err
		}
	}
	if o.ControlAddress != "" {
		s.control, err = listenControl(o.ControlAddress)
	}
	return err
}

// Addresses tells where the sandbox listens.
func (s *Sandbox) Addresses() Addresses {
	text := func(l net.Listener) string {
		switch {
		case l == nil:
			return ""
		case l.Addr().Network() == "unix":
			return unixPrefix + l.Addr().String()
		}
		return l.Addr().String()
	}
	return Addresses{MQTT: text(s.mqtt), MQTTS: text(s.mqtts), HTTPS: text(s.https), Control: text(s.control), CAFile: s.ca.path}
}

// Close shuts the doors of a sandbox that will not Run.
func (s *Sandbox) Close() error {
	var all []error
	for _, l := range []net.Listener{s.mqtt, s.mqtts, s.https, s.control} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// Run serves devices and testers until ctx ends; then it closes every connection and returns nil. It runs once.
func (s *Sandbox) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	config := s.ca.tlsConfig()
	devices := func(l net.Listener, d door) {
		group.Go(func() error {
			return accept(ctx, l, s.cloud.log, func(conn net.Conn) { s.cloud.serve(ctx, conn, d) })
		})
	}
	if s.mqtt != nil {
		devices(s.mqtt, door{tls: config})
	}
	if s.mqtts != nil {
		devices(s.mqtts, door{tls: config, tlsOnly: true})
	}
	if s.https != nil {
		group.Go(func() error { return s.cloud.serveHTTPS(ctx, s.https, s.ca) })
	}
	if s.control != nil {
		group.Go(func() error { return s.serveControl(ctx) })
	}
	group.Go(func() error { // even with every door closed it runs until it is told to stop
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}
