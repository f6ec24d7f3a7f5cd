package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// smallDisk is one that the test can fill.
type smallDisk interface {
	start(c *calm, dir string) // starts a sidecar whose state is on it
	fill()
	free()
}

func TestAFullDiskRefusesWhatIsStoredAndLosesNothing(t *testing.T) {
	disks := map[string]func(*testing.T) smallDisk{
		"a limit on the size of files": func(t *testing.T) smallDisk { return &limited{t: t} },
	}
	if os.Geteuid() == 0 { // others cannot mount one
		disks["a file system of 4 MiB"] = newMounted
	}
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) { fillDisk(t, disk(t)) })
	}
}

func fillDisk(t *testing.T, disk smallDisk) {
	c := &calm{t: t, platform: harness.StartPlatform(t, 0, "--keep-messages", "100000")}
	dir := t.TempDir()
	disk.start(c, dir)
	c.connect()
	filling := strings.Repeat("x", 200_000)
	publish := func(what string, assurance pb.Assurance) (pb.Outcome, error) {
		r, err := c.messages.Publish(harness.Within(t), &pb.PublishRequest{Message: &pb.OutgoingMessage{
			Topic: upTopic, Payload: []byte(what + " " + filling), Assurance: assurance,
		}})
		return r.GetOutcome(), err
	}
	taken, refused := []string{"before"}, []string(nil)
	if o, err := publish("before", pb.Assurance_ASSURANCE_STORED); err != nil || o != pb.Outcome_OUTCOME_STORED {
		t.Fatalf("with room: %v, %v", o, err)
	}
	disk.fill()
	for n := 0; len(refused) < 2*batch; n++ { // what the database has freed it uses again, but it has never had room for one batch
		some, none := storeBatch(t, c.messages, fmt.Sprint("full-", n), filling)
		taken, refused = append(taken, some...), append(refused, none...)
	}
	if _, err := publish("large", pb.Assurance_ASSURANCE_STORED); err != nil && (status.Code(err) != codes.ResourceExhausted || reason(err) != "STORAGE_FULL") {
		t.Errorf("STORED on a full disk: %v", err)
	}
	if o, err := publish("confirmed", pb.Assurance_ASSURANCE_CONFIRMED); err != nil || o != pb.Outcome_OUTCOME_ACKNOWLEDGED {
		t.Errorf("CONFIRMED on a full disk: %v, %v", o, err)
	}
	if s := c.status(); s.GetState() != pb.LinkState_LINK_STATE_ONLINE || s.GetCounters().GetConnects() != 1 {
		t.Errorf("the link: %v", s)
	}
	disk.free()
	if o, err := publish("after", pb.Assurance_ASSURANCE_STORED); err != nil || o != pb.Outcome_OUTCOME_STORED {
		t.Errorf("with room again: %v, %v", o, err)
	}
	taken = append(taken, "after", "confirmed")
	c.sidecar.Kill()
	disk.start(c, dir)
	harness.Eventually(t, "an empty outbox", func() bool { return c.status().GetQueue().GetStoredMessages() == 0 })
	times := map[string]int{}
	for payload, n := range c.arrivals() {
		what, _, _ := strings.Cut(payload, " ")
		times[what] += n
	}
	for _, what := range taken {
		if times[what] == 0 {
			t.Errorf("%s was taken and never came", what)
		}
	}
	for _, what := range refused {
		if times[what] > 0 {
			t.Errorf("%s was refused and came", what)
		}
	}
	t.Logf("%d were taken, %d refused", len(taken), len(refused))
}

// batch is how many messages storeBatch gives at once. They are put on disk all together or not at all.
const batch = 16

// storeBatch gives STORED messages, and tells which were taken and which refused.
func storeBatch(t *testing.T, messages pb.MessagingServiceClient, prefix, filling string) (taken, refused []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(harness.Within(t))
	defer cancel()
	stream, err := messages.PublishStream(ctx)
	must(t, err)
	request := &pb.PublishStreamRequest{}
	for id := range uint64(batch) {
		request.Messages = append(request.Messages, &pb.OutgoingMessage{
			Id: id, Topic: upTopic, Payload: fmt.Appendf(nil, "%s-%d %s", prefix, id, filling), Assurance: pb.Assurance_ASSURANCE_STORED,
		})
	}
	must(t, stream.Send(request))
	for len(taken)+len(refused) < batch {
		r, err := stream.Recv()
		must(t, err)
		for _, receipt := range r.Receipts {
			what := fmt.Sprintf("%s-%d", prefix, receipt.Id)
			switch {
			case receipt.Outcome == pb.Outcome_OUTCOME_STORED:
				taken = append(taken, what)
			case receipt.Outcome == pb.Outcome_OUTCOME_FAILED && receipt.Reason == pb.ErrorReason_ERROR_REASON_STORAGE_FULL:
				refused = append(refused, what)
			case receipt.Outcome != pb.Outcome_OUTCOME_ACKNOWLEDGED:
				t.Fatalf("on a full disk: %v", receipt)
			}
		}
	}
	return taken, refused
}

// reason is the ErrorInfo's.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, is := d.(*errdetails.ErrorInfo); is {
			return info.Reason
		}
	}
	return ""
}

// limited is a disk on which no file becomes larger than the sidecar's database is.
type limited struct {
	t       *testing.T
	sidecar *harness.Sidecar
}

func (d *limited) start(c *calm, dir string) {
	c.sidecar = harness.StartSidecar(d.t, c.platform, dir)
	d.sidecar = c.sidecar
}

func (d *limited) fill() {
	file, err := os.Stat(filepath.Join(d.sidecar.Dir, "state", "sidecar.db"))
	must(d.t, err)
	d.limit(uint64(file.Size()))
}

func (d *limited) free() { d.limit(unix.RLIM_INFINITY) }

// limit changes the soft limit alone: so everybody may raise it again.
func (d *limited) limit(bytes uint64) {
	var now unix.Rlimit
	must(d.t, unix.Prlimit(d.sidecar.Process.Pid, unix.RLIMIT_FSIZE, nil, &now))
	now.Cur = min(bytes, now.Max)
	must(d.t, unix.Prlimit(d.sidecar.Process.Pid, unix.RLIMIT_FSIZE, &now, nil))
}

// mounted is a small file system in a mount namespace of its own, which a process holds open over restarts of the sidecar.
type mounted struct {
	t      *testing.T
	dir    string
	holder *harness.Running
}

func newMounted(t *testing.T) smallDisk {
	d := &mounted{t: t, dir: t.TempDir()}
	d.holder = harness.Begin(t, exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c",
		`mount -t tmpfs -o size=4m tmpfs "$1" && echo {} && exec sleep infinity`, "sh", d.dir))
	d.holder.AwaitReady()
	return d
}

func (d *mounted) start(c *calm, dir string) {
	s := harness.Begin(d.t, exec.CommandContext(d.t.Context(), "nsenter", "--target", strconv.Itoa(d.holder.Process.Pid), "--mount",
		harness.Binary, "serve", "--listen", "unix://"+filepath.Join(dir, "s.sock"), "--state-dir", filepath.Join(d.dir, "state"), "--ca-file", c.platform.CAFile()))
	s.AwaitReady()
	c.sidecar = &harness.Sidecar{Running: s, Dir: dir, Devices: pb.NewConnectivityServiceClient(harness.Dial(d.t, s.Ready["address"]))}
}

// ballast is a file on the disk, as seen from outside the namespace.
func (d *mounted) ballast() string {
	return fmt.Sprintf("/proc/%d/root%s/ballast", d.holder.Process.Pid, d.dir)
}

func (d *mounted) fill() {
	file, err := os.Create(d.ballast())
	must(d.t, err)
	defer file.Close()
	for _, size := range []int{64 << 10, 4 << 10} { // to the last page
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

func (d *mounted) free() { must(d.t, os.Remove(d.ballast())) }
