package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/sandbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

var dev = device.ID{ProductKey: harness.ProductKey, DeviceName: "dev-001"}

// rig is a sidecar and a platform in this process, without TLS, so that a wire can count the bytes of MQTT. It waits a millisecond
// before it logs in again, where a configured sidecar waits a second.
type rig struct {
	t       *testing.T
	set     *conn.Set
	wire    *wire
	console sandboxv1.SandboxServiceClient
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	cloud, err := sandbox.New(sandbox.Options{
		StateDir: filepath.Join(dir, "sandbox"), FixtureFile: harness.Fixture(t, 0), MQTTAddress: "127.0.0.1:0",
		ControlAddress: "unix://" + filepath.Join(dir, "c.sock"), ConnectsPerMinute: -1,
	})
	must(t, err)
	run(t, cloud.Run)
	state := filepath.Join(dir, "state")
	credentials, err := credential.Open(state, credential.Options{})
	must(t, err)
	db, err := store.Open(state, nil)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	log, err := event.New(db, slog.New(slog.DiscardHandler))
	must(t, err)
	r := &rig{t: t, wire: newWire(t, cloud.Addresses().MQTT)}
	r.console = sandboxv1.NewSandboxServiceClient(harness.Dial(t, cloud.Addresses().Control))
	r.set, err = conn.NewSet(conn.Options{Credentials: credentials, Desired: db, Events: log, Queues: db})
	must(t, err)
	run(t, func(ctx context.Context) error { log.Run(ctx); return nil })
	run(t, r.set.Run)
	settings := conn.DefaultSettings()
	settings.Endpoint = platform.Endpoint{Host: "localhost"}
	settings.DialAddress, settings.TLS.PlainTCP, settings.CleanSession = r.wire.address(), true, false
	settings.ReconnectMin, settings.ReconnectMax = time.Millisecond, 2*time.Millisecond
	_, err = r.set.Connect(t.Context(), conn.ConnectRequest{
		Device: dev, Settings: settings,
		Credential: &credential.Credential{Kind: credential.DeviceSecret, Secret: device.NewSecret(harness.DeviceSecret), Source: "connect"},
	})
	must(t, err)
	return r
}

// run runs a room until the test ends, the last started first.
func run(t *testing.T, room func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := room(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// online waits until the device has been online n times and is.
func (r *rig) online(n uint64) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("link %d", n), func() bool {
		s, err := r.set.Device(dev)
		return err == nil && s.Counters.Connects >= n && s.State == event.Online
	})
}

// arrivals counts how often the platform got each payload.
func (r *rig) arrivals() map[string]int {
	r.t.Helper()
	all, err := r.console.ListMessages(harness.Within(r.t), &sandboxv1.ListMessagesRequest{Device: harness.ConsoleDevice("dev-001")})
	must(r.t, err)
	times := map[string]int{}
	for _, m := range all.Messages {
		times[string(m.Payload)]++
	}
	return times
}

// publishLength is that of a PUBLISH of QoS 1 whose topic and payload are short.
func publishLength(topic, payload string) int { return 2 + 2 + len(topic) + 2 + len(payload) }

const pubackLength = 4

// storeUnderACut gives one STORED message while the link is to be cut after n bytes in a direction, and waits for the next link and for
// the end of the message. The cuts are resets and farewells in turn: of farewells alone a takeover would be suspected.
func (r *rig) storeUnderACut(links uint64, payload string, d direction, n int) {
	r.t.Helper()
	r.online(links)
	r.wire.cutAfter(d, n, links%2 == 0)
	p, err := r.set.Publisher(dev)
	must(r.t, err)
	defer p.Close()
	p.Publish([]message.Outgoing{{ID: 1, Topic: upTopic, Payload: []byte(payload), QoS: 1, Stored: true}})
	var outcomes []message.Outcome
	for len(outcomes) < 2 {
		some, err := p.Receipts().Take(harness.Within(r.t))
		must(r.t, err)
		for _, receipt := range some {
			outcomes = append(outcomes, receipt.Outcome)
		}
	}
	if outcomes[0] != message.Stored || outcomes[1] != message.Acknowledged {
		r.t.Errorf("%s: %v", payload, outcomes)
	}
	r.online(links + 1)
}

func TestACutAfterEachByteOfAPublishLosesNothing(t *testing.T) {
	r := newRig(t)
	length := publishLength(upTopic, "cut-000")
	for n := range length + 1 {
		r.storeUnderACut(uint64(n+1), fmt.Sprintf("cut-%03d", n), toPlatform, n)
	}
	times := r.arrivals()
	for n := range length + 1 {
		// One that was cut short cannot have been understood. One that was whole may have been, or was dropped by the reset.
		if got := times[fmt.Sprintf("cut-%03d", n)]; got != 1 && (n < length || got != 2) {
			t.Errorf("cut after %d bytes of %d, the message came %d times", n, length, got)
		}
	}
}

func TestACutAfterEachByteOfAPubackLosesNothing(t *testing.T) {
	r := newRig(t)
	const rounds = 4 // so that each cut is done in either way
	links := uint64(0)
	for round := range rounds {
		for n := range pubackLength + 1 {
			links++
			r.storeUnderACut(links, fmt.Sprintf("cut-%d-%d", round, n), toDevice, n)
		}
	}
	times := r.arrivals()
	for round := range rounds {
		for n := range pubackLength + 1 {
			// The platform had it, and the sidecar could not know unless PUBACK was whole.
			if got := times[fmt.Sprintf("cut-%d-%d", round, n)]; got != 2 && (n < pubackLength || got != 1) {
				t.Errorf("cut after %d bytes of PUBACK, the message came %d times", n, got)
			}
		}
	}
}

// reading is an app that consumes an inbox and answers whatever comes.
type reading struct {
	*rig
	consumer *conn.Consumer
	grants   uint64
	times    map[string]int // how often each payload came
}

func (r *rig) consume() *reading {
	r.t.Helper()
	c, err := r.set.Consume(dev, conn.ConsumeRequest{Inbox: "cuts", Filters: []string{downTopic}})
	must(r.t, err)
	return &reading{rig: r, consumer: c, times: map[string]int{}}
}

func (r *reading) until(is func() bool) {
	r.t.Helper()
	for !is() {
		batch, err := r.consumer.Take(harness.Within(r.t))
		must(r.t, err)
		if batch.Granted {
			r.grants++
		}
		for _, d := range batch.Deliveries {
			r.times[string(d.Message.Payload)]++
			r.consumer.Answer([]inbox.Answer{{Delivery: d.Number, Verdict: inbox.Done}})
		}
	}
}

// sendUnderACut sends one message to the device while the link is to be cut after n bytes in a direction, and waits for it.
func (r *reading) sendUnderACut(links uint64, d direction, n int) {
	r.t.Helper()
	payload := fmt.Sprintf("cut-%03d", links)
	r.until(func() bool { return r.grants >= links })
	harness.Eventually(r.t, "silence on the link", func() bool { // what the platform sends again has been acknowledged
		s, err := r.console.ListDevices(harness.Within(r.t), &sandboxv1.ListDevicesRequest{})
		return err == nil && s.Devices[0].MessagesUnacknowledged+s.Devices[0].MessagesQueued == 0
	})
	r.wire.cutAfter(d, n, links%2 == 0)
	sent, err := r.console.PublishDownstream(harness.Within(r.t), &sandboxv1.PublishDownstreamRequest{
		Device: harness.ConsoleDevice("dev-001"), Topic: downTopic, Payload: []byte(payload), Qos: 1,
	})
	must(r.t, err)
	if sent.Delivery != sandboxv1.Delivery_DELIVERY_SENT && sent.Delivery != sandboxv1.Delivery_DELIVERY_QUEUED {
		r.t.Errorf("%s: %v", payload, sent)
	}
	r.until(func() bool { return r.times[payload] > 0 })
}

func TestACutAfterEachByteOfAMessageToTheDeviceLosesNothing(t *testing.T) {
	r := newRig(t).consume()
	defer r.consumer.Close()
	links := uint64(0)
	for n := range publishLength(downTopic, "cut-000") + 1 {
		links++
		r.sendUnderACut(links, toDevice, n)
	}
	for n := range pubackLength + 1 {
		links++
		r.sendUnderACut(links, toPlatform, n)
	}
	r.until(func() bool { return r.grants > links })
	for payload, n := range r.times {
		if n > 2 {
			t.Errorf("%s came %d times", payload, n)
		}
	}
}
