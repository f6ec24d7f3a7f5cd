package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/sandbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/server"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace/otlp"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

type devFlags struct {
	dir       string
	kickAfter time.Duration
	logFlags
}

func (r *run) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try it: sidecar, platform and a device in one process, no account needed",
		Long: `Starts a sidecar and the platform emulator in one process, reachable from this machine only, and lets you watch: it
registers a sample device, connects it, has the platform kick it once, and shows how it comes back. Lines to paste into
another terminal are printed first. Ctrl-C ends it.

What the sidecar stores stays in a directory of your own, and the next "dev" goes on with it. It has nothing to do with the
state directory of "serve".

Exit codes: 0 stopped by a signal; 1 something failed; 2 it refused to start, such as because another "dev" runs.`,
		Example: `    linkkit-sidecar dev
    linkkit-sidecar dev --kick-after 0 --dev-dir /tmp/try`,
		RunE: r.operation(func(ctx context.Context) error { return r.dev(ctx, &f) }),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.dir, "dev-dir", "", "`directory` to keep everything in; default: linkkit-sidecar/dev in $XDG_STATE_HOME or ~/.local/state")
	fs.Var(config.Seconds(&f.kickAfter, 3*time.Second), "kick-after", "have the platform kick the device once after so many `seconds`; 0 does not")
	f.logFlags.add(cmd, "error")
	_ = cmd.MarkFlagDirname("dev-dir")
	return cmd
}

// The sample: a product that lets its devices register, with one device that has a secret and one that is yet to register.
const (
	sampleProduct       = "a1B2c3D4e5F"
	sampleProductSecret = "PsSecret01234567"
)

var (
	sampleDevice     = device.ID{ProductKey: sampleProduct, DeviceName: "dev-002"}
	sampleOnSidecar  = &pb.Device{ProductKey: sampleDevice.ProductKey, DeviceName: sampleDevice.DeviceName}
	sampleOnPlatform = &sandboxv1.Device{ProductKey: sampleDevice.ProductKey, DeviceName: sampleDevice.DeviceName}
	sampleFixture    = sandbox.Fixture{Products: []sandbox.FixtureProduct{{
		ProductKey: sampleProduct, ProductSecret: device.NewSecret(sampleProductSecret), DynamicRegistration: true,
		Devices: []sandbox.FixtureDevice{{DeviceName: "dev-001", DeviceSecret: device.NewSecret("0123456789abcdef0123456789abcdef")}},
	}}}
)

// development is the world of one `dev`.
type development struct {
	*run
	flags    *devFlags
	log      *slog.Logger
	platform *sandbox.Sandbox
	sidecar  *sidecar
	unlock   func() error
	known    bool // the sample device has a credential from an earlier run
}

// dev runs a platform, a sidecar, and a client that shows what happens.
func (r *run) dev(ctx context.Context, f *devFlags) error {
	d := &development{run: r, flags: f, log: f.logger(r.Stderr)}
	stop := f.obey(d.log)
	defer stop()
	if err := d.open(); err != nil {
		return usage(err)
	}
	// The platform is there before the sidecar and after it, so that devices can say goodbye.
	platformLife, endPlatform := context.WithCancel(context.WithoutCancel(ctx))
	defer endPlatform()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.platform.Run(platformLife) })
	all.Go(func() error {
		defer endPlatform()
		return d.sidecar.run(ctx, d.introduce)
	})
	all.Go(func() error {
		err := r.ask(ctx, &clientFlags{address: d.sidecar.addresses()[0]}, d.watch)
		if exitCode(err) == exitInterrupted {
			return nil // that is how it ends
		}
		return err
	})
	err := all.Wait()
	_, _ = fmt.Fprintln(r.Stdout, "\nStopped. What the sidecar stored is kept in "+f.dir)
	return errors.Join(err, d.unlock())
}

// open builds the platform and the sidecar. Its errors are refusals to start; then nothing stays open.
func (d *development) open() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := d.takeDir(); err != nil {
		return err
	}
	sockets, err := d.socketDir()
	if err != nil {
		return err
	}
	if d.platform, err = sandbox.New(sandbox.Options{
		StateDir:       filepath.Join(d.flags.dir, "platform"),
		Fixture:        sampleFixture,
		MQTTAddress:    free("127.0.0.1:1883"),
		MQTTSAddress:   free("127.0.0.1:8883"),
		HTTPSAddress:   free("127.0.0.1:8443"),
		ControlAddress: "unix://" + filepath.Join(sockets, "platform.sock"),
		Log:            d.log,
	}); err != nil {
		return err
	}
	pem, err := os.ReadFile(d.platform.Addresses().CAFile)
	if err != nil {
		return err
	}
	roots, err := trust.Parse(pem)
	if err != nil {
		return err
	}
	traces, err := otlp.Open(context.Background(), d.getenv, d.build().Version, d.log)
	if err != nil {
		return err
	}
	if d.sidecar, err = openSidecar(sidecarOptions{
		traces:   traces,
		stateDir: filepath.Join(d.flags.dir, "sidecar"), version: d.build().Version, log: d.log, extraCA: roots,
		servers: []server.Options{{Address: "unix://" + filepath.Join(sockets, "sidecar.sock")}},
	}); err != nil {
		return err
	}
	return d.remind()
}

// takeDir finds and locks the directory, before anything touches the sockets of another `dev`.
func (d *development) takeDir() error {
	if d.flags.dir == "" {
		home := d.getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(home) { // the specification says to ignore such
			if home = d.getenv("HOME"); home == "" {
				return errors.New("neither XDG_STATE_HOME nor HOME is set: name a directory with --dev-dir")
			}
			home = filepath.Join(home, ".local", "state")
		}
		d.flags.dir = filepath.Join(home, "linkkit-sidecar", "dev")
	}
	var err error
	if d.flags.dir, err = filepath.Abs(d.flags.dir); err != nil {
		return err
	}
	if err := statedir.Prepare(d.flags.dir); err != nil {
		return err
	}
	d.unlock, err = statedir.Lock(d.flags.dir)
	if busy, ok := errors.AsType[*statedir.InUseError](err); ok {
		return fmt.Errorf("another `linkkit-sidecar dev` (pid %d) runs in %s: use that one, or give this one its own --dev-dir", busy.PID, busy.Dir)
	}
	return err
}

// socketDir is where sockets go: beside everything else, or where paths are short, since a socket's has 107 bytes at most.
func (d *development) socketDir() (string, error) {
	const most = 107 - len("/platform.sock")
	if len(d.flags.dir) <= most {
		return d.flags.dir, nil
	}
	short := d.getenv("XDG_RUNTIME_DIR")
	if short == "" {
		short = filepath.Join(os.TempDir(), fmt.Sprintf("linkkit-sidecar-%d", os.Getuid()))
	}
	short = filepath.Join(short, fmt.Sprintf("linkkit-sidecar-dev-%08x", crc32.ChecksumIEEE([]byte(d.flags.dir))))
	if len(short) > most {
		return "", fmt.Errorf("%s is too long a path for a socket: name a shorter directory with --dev-dir", d.flags.dir)
	}
	return short, statedir.Prepare(short)
}

// free is the address if nobody has it yet, or else one with any port. It is a guess: who loses a race is told so.
func free(address string) string {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return address
}

// remind tells the platform, which keeps nothing, of the secrets that the sidecar has from it since an earlier run.
func (d *development) remind() error {
	ids, err := d.sidecar.credentials.IDs()
	if err != nil {
		return err
	}
	console := d.platform.Service()
	for _, id := range ids {
		c, err := d.sidecar.credentials.Get(id)
		if err != nil || c.Kind != credential.DeviceSecret {
			continue // the sidecar says in its log and its events what is wrong with a credential
		}
		_, err = console.CreateProduct(context.Background(), &sandboxv1.CreateProductRequest{ProductKey: id.ProductKey})
		if err == nil || status.Code(err) == codes.AlreadyExists {
			_, err = console.CreateDevice(context.Background(), &sandboxv1.CreateDeviceRequest{
				Device: &sandboxv1.Device{ProductKey: id.ProductKey, DeviceName: id.DeviceName}, DeviceSecret: c.Secret.Reveal(),
			})
		}
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("the platform cannot be told of %s: %w", id, err)
		}
		d.known = d.known || id == sampleDevice
	}
	if !d.known {
		_, err = console.CreateDevice(context.Background(), &sandboxv1.CreateDeviceRequest{Device: sampleOnPlatform})
	}
	return err
}

// close gives up what open made and nothing runs.
func (d *development) close() error {
	var all []error
	if d.sidecar != nil {
		all = append(all, d.sidecar.close())
	}
	if d.platform != nil {
		all = append(all, d.platform.Close())
	}
	if d.unlock != nil {
		all = append(all, d.unlock())
	}
	return errors.Join(all...)
}
