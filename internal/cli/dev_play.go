package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// introduce prints what runs, and what to try.
func (d *development) introduce() error {
	at := d.platform.Addresses()
	sidecar, console := strings.TrimPrefix(d.sidecar.addresses()[0], "unix://"), strings.TrimPrefix(at.Control, "unix://")
	sample := fmt.Sprintf(`{"device": {"product_key": %q, "device_name": %q}}`, sampleDevice.ProductKey, sampleDevice.DeviceName)
	c := d.colour()
	w := &lines{w: d.Stdout}
	w.printf("%s\n\n", c.paint(bold, "A sidecar and a platform of its own, on this machine only."))
	for _, row := range [][2]string{
		{"sidecar", "unix://" + sidecar},
		{"platform", "MQTT over TLS " + at.MQTTS + ", MQTT " + at.MQTT + ", HTTPS " + at.HTTPS + "; the host is localhost"},
		{"console", at.Control},
		{"CA", at.CAFile},
		{"devices", "a1B2c3D4e5F/dev-001 with a secret, " + sampleDevice.String() + " without one until it registers"},
	} {
		w.printf("    %-9s %s\n", row[0], row[1])
	}
	topic := "/" + sampleDevice.String() + "/user/update"
	message := fmt.Sprintf(`{"message": {"topic": %q, "payload": "aGVsbG8=", "assurance": "ASSURANCE_STORED"}}`, topic)
	w.printf("\nTry in another terminal:\n\n")
	for _, line := range []string{
		tool("linkkit-sidecar") + " status --address " + shellWord("unix://"+sidecar),
		tool("grpcurl") + " -plaintext -unix " + shellWord(sidecar) + " linkkit_sidecar.v1.ConnectivityService/ListDevices",
		tool("grpcurl") + " -plaintext -unix " + shellWord(sidecar) + " linkkit_sidecar.v1.ConnectivityService/Events",
		tool("linkkit-sidecar") + " publish --stored --address " + shellWord("unix://"+sidecar) + " " + topic + " hello",
		tool("grpcurl") + " -plaintext -unix -d " + shellWord(message) + " " + shellWord(sidecar) + " linkkit_sidecar.v1.MessagingService/Publish",
		tool("grpcurl") + " -plaintext -unix -d " + shellWord(sample) + " " + shellWord(console) + " linkkit_sidecar.sandbox.v1.SandboxService/KickDevice",
	} {
		w.printf("    %s\n", c.paint(cyan, line))
	}
	w.printf("\nCtrl-C ends it. This is what happens:\n\n")
	return w.err
}

// tool is how a shell in any directory starts a program: by its name, or by its path when it lies beside this one and not on PATH.
func tool(name string) string {
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return shellWord(path)
		}
	}
	return name
}

// shellWord is s as one word of a shell's line.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// watch shows events while the sample device goes through its day.
func (d *development) watch(ctx context.Context, c *client) error {
	printer := d.eventPrinter()
	printer.clock = shortClock
	all, ctx := errgroup.WithContext(ctx)
	watching := make(chan struct{}) // closed when nothing can be missed any more
	begin := sync.OnceFunc(func() { close(watching) })
	shown := make(chan struct{}) // closed when the registration was shown
	registered := sync.OnceFunc(func() { close(shown) })
	all.Go(func() error {
		f := &follower{client: c, request: &pb.EventsRequest{}, once: true}
		f.tell = func(e *pb.EventsResponse) error {
			begin()
			if err := printer.print(e); err != nil {
				return err
			}
			if e.GetRegistered() != nil {
				registered()
			}
			return nil
		}
		return f.run(ctx)
	})
	all.Go(func() error {
		select {
		case <-watching:
			return d.play(ctx, c, shown)
		case <-ctx.Done():
			return nil
		}
	})
	return all.Wait()
}

// say prints a line that is no event.
func (d *development) say(format string, args ...any) {
	_, _ = fmt.Fprintln(d.Stdout, d.colour().paint(bold, "--- "+fmt.Sprintf(format, args...)))
}

// play registers the sample device, connects it, and has it kicked once.
func (d *development) play(ctx context.Context, c *client, shown <-chan struct{}) error {
	port, err := portOf(d.platform.Addresses().MQTTS)
	if err != nil {
		return err
	}
	endpoint := &pb.Endpoint{Host: "localhost", Port: port}
	if d.known {
		d.say("%s has a credential from an earlier run", sampleDevice)
	} else {
		d.say("registering %s with the secret of its product", sampleDevice)
		if _, err := c.Register(ctx, &pb.RegisterRequest{
			Device: sampleOnSidecar, Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED,
			ProductSecret: sampleProductSecret, Endpoint: endpoint,
		}); err != nil {
			return err
		}
		select {
		case <-shown: // the story is told in its order
		case <-ctx.Done():
			return nil
		}
	}
	d.say("connecting it: the sidecar keeps it online from now on")
	// The port may be another than in the run before.
	if _, err := c.Connect(ctx, &pb.ConnectRequest{Device: sampleOnSidecar, Endpoint: endpoint, Replace: true}); err != nil {
		return err
	}
	if d.flags.kickAfter == 0 {
		return nil
	}
	select {
	case <-time.After(d.flags.kickAfter):
	case <-ctx.Done():
		return nil
	}
	d.say("the platform kicks it, as it does when another program logs in as the same device")
	_, err = d.platform.Service().KickDevice(ctx, &sandboxv1.KickDeviceRequest{Device: sampleOnPlatform})
	return err
}

func portOf(address string) (uint32, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return uint32(port), err
}
