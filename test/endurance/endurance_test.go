// Package endurance has the real rooms in one process, sandbox and Set, go through more than a day brings.
package endurance

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/sandbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var dev = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}

const fixture = `products:
  - product_key: a1B2c3D4e5F
    product_secret: PsSecret01234567
    devices:
      - device_name: dev-001
        device_secret: 0123456789abcdef0123456789abcdef
`

// rig is a sidecar without gRPC, a platform, and a wire between them that can be cut.
type rig struct {
	set  *conn.Set
	log  *event.Log
	wire *wire
	ca   string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "fixture.yaml")
	must(t, os.WriteFile(file, []byte(fixture), 0o600))
	platform, err := sandbox.New(sandbox.Options{
		StateDir: filepath.Join(dir, "sandbox"), FixtureFile: file, MQTTSAddress: "127.0.0.1:0", ConnectsPerMinute: -1,
	})
	must(t, err)
	run(t, platform.Run)
	pem, err := os.ReadFile(platform.Addresses().CAFile)
	must(t, err)

	state := filepath.Join(dir, "state")
	credentials, err := credential.Open(state, credential.Options{})
	must(t, err)
	db, err := store.Open(state, nil)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	r := &rig{ca: string(pem), wire: newWire(t, platform.Addresses().MQTTS)}
	r.log, err = event.New(db, slog.New(slog.DiscardHandler))
	must(t, err)
	r.set, err = conn.NewSet(conn.Options{Credentials: credentials, Desired: db, Events: r.log})
	must(t, err)
	run(t, func(ctx context.Context) error { r.log.Run(ctx); return nil })
	run(t, r.set.Run)
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

func (r *rig) connect(t *testing.T) {
	t.Helper()
	settings := conn.DefaultSettings()
	settings.Endpoint = platform.Endpoint{Host: "localhost", Port: r.wire.port()}
	settings.TLS.CAPEM = r.ca
	settings.ReconnectMin, settings.ReconnectMax = time.Millisecond, 2*time.Millisecond
	_, err := r.set.Connect(t.Context(), conn.ConnectRequest{
		Device: dev, Settings: settings,
		Credential: &credential.Credential{
			Kind: credential.DeviceSecret, Secret: device.NewSecret("0123456789abcdef0123456789abcdef"), Source: "connect",
		},
	})
	must(t, err)
}

// online waits until the device has been online n times and is.
func (r *rig) online(t *testing.T, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s, err := r.set.Device(dev)
		must(t, err)
		if s.Counters.Connects >= n && s.State == event.Online {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute the device is %v with %d connects, want %d: %s", s.State, s.Counters.Connects, n, s.LastDetail)
		}
	}
}

// TestAThousandReconnectsLeaveNothingBehind cuts the wire a thousand times.
func TestAThousandReconnectsLeaveNothingBehind(t *testing.T) {
	r := newRig(t)
	r.connect(t)
	for i := range uint64(50) { // caches and pools are full after these
		r.wire.cut()
		r.online(t, i+2)
	}
	before := measure(t)
	for i := range uint64(1000) {
		r.wire.cut()
		r.online(t, 52+i)
	}
	after := measure(t)
	for deadline := time.Now().Add(30 * time.Second); !after.like(before) && time.Now().Before(deadline); after = measure(t) {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("goroutines, files, KiB of heap: %d, %d, %d before 1000 reconnects; %d, %d, %d after",
		before.goroutines, before.files, before.heap>>10, after.goroutines, after.files, after.heap>>10)
	if !after.like(before) {
		t.Error("something was left behind")
	}
}

// TestRandomCutsRaiseNoSuspicion cuts the wire two hundred times, at random moments, by reset and by an end without a farewell.
func TestRandomCutsRaiseNoSuspicion(t *testing.T) {
	r := newRig(t)
	r.connect(t)
	for i := range uint64(200) {
		r.online(t, i+1)
		time.Sleep(rand.N(10 * time.Millisecond)) // what is random is the moment
		r.wire.cut()
	}
	r.online(t, 201)
	events := r.log.Open(event.Selection{Kinds: []event.Kind{event.KindTakeoverSuspected, event.KindLost}, After: &event.Cursor{}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	lost := 0
	for {
		e, err := events.Take(ctx)
		if err != nil {
			break
		}
		switch e.Event.Body.(type) {
		case event.TakeoverSuspected:
			t.Error("a takeover is suspected")
		case event.Lost:
			lost++
		}
	}
	t.Logf("%d links were lost in 200 cuts", lost)
	if lost < 200 {
		t.Error("fewer links were lost than were cut")
	}
}

type measurement struct {
	goroutines, files int
	heap              uint64
}

func measure(t *testing.T) (m measurement) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return measurement{runtime.NumGoroutine(), len(files), stats.HeapAlloc}
}

// like says that nothing has grown. The journal's newest 1,024 events stay in memory, so the heap may have grown by those.
func (m measurement) like(before measurement) bool {
	return m.goroutines <= before.goroutines+3 && m.files <= before.files+2 && m.heap <= before.heap+1<<20
}

// wire is a port whose connections lead to another, until they are cut.
type wire struct {
	listener net.Listener
	mu       sync.Mutex
	open     map[*net.TCPConn]bool
	cuts     int
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{listener: listener, open: map[*net.TCPConn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			device, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = device.Close()
				continue
			}
			w.join(&running, device.(*net.TCPConn), server.(*net.TCPConn))
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		running.Wait()
	})
	return w
}

func (w *wire) port() int { return w.listener.Addr().(*net.TCPAddr).Port }

func (w *wire) join(running *sync.WaitGroup, device, server *net.TCPConn) {
	w.mu.Lock()
	w.open[device] = true
	w.mu.Unlock()
	running.Go(func() {
		_, _ = io.Copy(server, device)
		_ = server.Close()
		_ = device.Close()
	})
	running.Go(func() {
		_, _ = io.Copy(device, server)
		_ = server.Close()
		_ = device.Close()
		w.mu.Lock()
		delete(w.open, device)
		w.mu.Unlock()
	})
}

// cut ends all connections, by a reset and by an end without a farewell in turn.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts++
	for c := range w.open {
		if w.cuts%2 == 0 {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
}

// TestFiftySubscriptionsComeBackAfterEachCut cuts the wire a hundred times under fifty topic filters.
func TestFiftySubscriptionsComeBackAfterEachCut(t *testing.T) {
	r := newRig(t)
	r.connect(t)
	var filters []string
	for i := range 50 {
		filters = append(filters, fmt.Sprintf("/a1B2c3D4e5F/dev-001/user/f%d/+", i))
	}
	subscription, err := r.set.Subscribe(dev, filters, 0)
	must(t, err)
	defer subscription.Close()
	granted := func() {
		batch, err := subscription.Take(t.Context())
		must(t, err)
		if !batch.Granted {
			t.Fatalf("instead of a grant came %+v", batch)
		}
	}
	granted()
	var longest time.Duration
	for i := range uint64(100) {
		r.wire.cut()
		r.online(t, i+2)
		s, err := r.set.Device(dev)
		must(t, err)
		granted()
		longest = max(longest, time.Since(s.StateTime))
	}
	t.Logf("the longest wait from CONNACK for 50 filters, of 100: %v", longest)
}
