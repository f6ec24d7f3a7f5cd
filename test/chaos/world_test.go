package chaos

import (
	"path/filepath"
	"sync"
	"testing"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// world is all that runs.
type world struct {
	t        *testing.T
	dir      string
	fixture  string
	ledger   *ledger
	wire     *wire
	platform *harness.Platform
	life     int // of the platform
	sidecar  *harness.Running
	devices  pb.ConnectivityServiceClient
	messages pb.MessagingServiceClient
	gate     *gate
	producer [2]*producer
	consumer *consumer
	pusher   *pusher
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), fixture: harness.Fixture(t, 0), ledger: newLedger(), gate: &gate{}}
	running := &sync.WaitGroup{}
	t.Cleanup(running.Wait)
	w.pusher = &pusher{ledger: w.ledger, gate: w.gate}
	w.startPlatform()
	w.wire = newWire(t, w.platform.Ready["mqtts"])
	w.startSidecar()
	conn := dial(t, w.sidecar.Ready["address"])
	w.devices, w.messages = pb.NewConnectivityServiceClient(conn), pb.NewMessagingServiceClient(conn)
	lasting := false
	if _, err := w.devices.Connect(harness.Within(t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: &pb.Endpoint{Host: "localhost"}, DialAddress: w.wire.address(),
		Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
		Mqtt:       &pb.MqttSettings{CleanSession: &lasting}, Reconnect: &pb.ReconnectSettings{MinDelay: 1, MaxDelay: 1},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range w.producer {
		w.producer[i] = startProducer(t, running, &producer{
			seed: seed, messages: pb.NewMessagingServiceClient(dial(t, w.sidecar.Ready["address"])), ledger: w.ledger, gate: w.gate,
		}, i+1, len(w.producer))
	}
	w.consumer = startConsumer(t, running, &consumer{messages: pb.NewMessagingServiceClient(dial(t, w.sidecar.Ready["address"])), ledger: w.ledger})
	startPusher(t, running, w.pusher)
	return w
}

// startSidecar starts one on the state that there is.
func (w *world) startSidecar() {
	w.t.Helper()
	w.sidecar = harness.Launch(
		w.t, "serve", "--listen", "unix://"+filepath.Join(w.dir, "s.sock"), "--state-dir", filepath.Join(w.dir, "state"), "--ca-file", w.platform.CAFile(),
		"--connects-per-minute", "0", "--outbox-messages", outboxMessages, "--drain-timeout", "1", "--log-level", "warn",
	)
}

// startPlatform starts one that knows nothing of what was before but its certificate.
func (w *world) startPlatform() {
	w.t.Helper()
	w.life++
	p := harness.Launch(
		w.t, "sandbox", "--state-dir", filepath.Join(w.dir, "platform"), "--fixture", w.fixture, "--mqtt-address", "", "--mqtts-address", "127.0.0.1:0",
		"--https-address", "", "--control-address", "unix://"+filepath.Join(w.dir, "c.sock"), "--device-logins-per-minute", "-1",
		"--keep-messages", "1000000", "--log-level", "warn",
	)
	console := sandboxv1.NewSandboxServiceClient(dial(w.t, p.Ready["control"]))
	w.platform = &harness.Platform{Running: p, Console: console}
	w.pusher.console.Store(&console)
	if w.wire != nil {
		w.wire.lead(p.Ready["mqtts"])
	}
}

func (w *world) do(r round) {
	w.t.Helper()
	w.ledger.count("rounds: " + string(r.deed))
	switch r.deed {
	case killSidecar:
		w.sidecar.Kill()
		w.ledger.killed()
		w.sidecar.Dismiss()
		w.startSidecar()
	case terminateSidecar:
		if r.mute { // it would wait for acknowledgements in vain
			w.clearFaults()
		}
		if code := w.sidecar.Terminate(); code != 0 {
			w.t.Errorf("the sidecar ended with %d: %s", code, w.sidecar.Log())
		}
		w.sidecar.Dismiss()
		w.startSidecar()
	case cutLink, closeLink:
		w.wire.cut(r.deed == cutLink)
	case cutLinkLater:
		w.wire.cutAfter(r.direction, r.n, true)
	case kickDevice:
		_, err := w.platform.Console.KickDevice(harness.Within(w.t), &sandboxv1.KickDeviceRequest{Device: harness.ConsoleDevice("dev-001")})
		w.must(err)
	case restartProducer:
		w.producer[int(r.direction)].restart()
	case restartConsumer:
		w.consumer.restart()
	case hushConsumer:
		w.consumer.silent.Store(true)
		rest(w.t.Context(), r.pause)
		w.consumer.restart()
	case flood:
		w.producer[int(r.direction)].flood.Store(int64(r.n))
	case setFault:
		_, err := w.platform.Console.SetFault(harness.Within(w.t), &sandboxv1.SetFaultRequest{Fault: r.fault})
		w.must(err)
		w.wire.cut(true) // it acts on the next link
	case restartPlatform:
		w.quiet()
		w.collect()
		if r.hurried {
			w.platform.Kill()
		} else if code := w.platform.Terminate(); code != 0 {
			w.t.Errorf("the platform ended with %d: %s", code, w.platform.Log())
		}
		w.platform.Dismiss()
		w.startPlatform()
		w.gate.closed.Store(false)
	case nothing:
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// clearFaults takes faults away, and the links on which they act.
func (w *world) clearFaults() {
	w.t.Helper()
	_, err := w.platform.Console.ClearFaults(harness.Within(w.t), &sandboxv1.ClearFaultsRequest{})
	w.must(err)
	w.wire.cut(true)
}

// quiet has the apps make nothing more, and waits until nothing is under way or waits, either way.
func (w *world) quiet() {
	w.t.Helper()
	w.gate.closed.Store(true)
	w.clearFaults()
	harness.Eventually(w.t, "silence", func() bool {
		if !w.pusher.idle.Load() || !w.producer[0].idle.Load() || !w.producer[1].idle.Load() {
			return false
		}
		here, err := w.devices.GetDevice(harness.Within(w.t), &pb.GetDeviceRequest{})
		if q := here.GetStatus().GetQueue(); err != nil || q.GetStoredMessages()+q.GetWaiting()+q.GetInFlight() > 0 ||
			here.GetStatus().GetState() != pb.LinkState_LINK_STATE_ONLINE {
			return false
		}
		there, err := w.platform.Console.ListDevices(harness.Within(w.t), &sandboxv1.ListDevicesRequest{})
		return err == nil && there.Devices[0].MessagesUnacknowledged+there.Devices[0].MessagesQueued == 0
	})
}

// collect writes down what the platform has got in this life.
func (w *world) collect() {
	w.t.Helper()
	for after, more := uint64(0), true; more; {
		r, err := w.platform.Console.ListMessages(harness.Within(w.t), &sandboxv1.ListMessagesRequest{
			Device: harness.ConsoleDevice("dev-001"), AfterNumber: after,
		})
		w.must(err)
		w.ledger.arrived(w.life, r.Messages)
		if more = r.More; more {
			after = r.Messages[len(r.Messages)-1].Number
		}
	}
}
