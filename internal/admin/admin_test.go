package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDevices are devices without links.
type fakeDevices struct{ statuses []event.Status }

func (f fakeDevices) Devices() []event.Status { return f.statuses }

func (f fakeDevices) Device(id device.ID) (event.Status, error) {
	for _, s := range f.statuses {
		if s.Device == id {
			return s, nil
		}
	}
	return event.Status{}, conn.ErrUnknownDevice
}

func (f fakeDevices) Figures() (all conn.Figures) {
	for _, s := range f.statuses {
		all.States[s.State]++
		all.Counters.Add(s.Counters)
	}
	return all
}

func status(name string, state event.State) event.Status {
	return event.Status{
		Device: device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: name}, State: state, Wanted: state != event.Idle,
		Counters: event.Counters{Connects: 3},
	}
}

// options are those of a page over a real database and log, and devices in all states.
func options(t *testing.T) Options {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(filepath.Join(t.TempDir(), "state"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	events, err := event.New(db, log)
	if err != nil {
		t.Fatal(err)
	}
	lost := status("dev-3", event.Waiting)
	lost.LastCause, lost.LastDetail = event.CauseClosedByServer, "a detail"
	return Options{
		Address: "127.0.0.1:0", Version: "v1.2.3", Registry: prometheus.NewRegistry(), Events: events, Store: db, Log: log,
		Devices: fakeDevices{[]event.Status{status("dev-1", event.Online), status("dev-2", event.Idle), lost}},
		Answers: func(context.Context) error { return nil },
	}
}

// serve runs a page until the test ends and returns its URL.
func serve(t *testing.T, o Options) string {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + s.Address()
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(data)
}

func TestThePageIsForThisMachineUnlessItIsSaidOtherwise(t *testing.T) {
	for address, open := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "example.com:0": false, "192.0.2.1:0": false,
	} {
		o := options(t)
		o.Address = address
		s, err := New(o)
		if err == nil {
			_ = s.Close()
		}
		if refused := err != nil && strings.Contains(err.Error(), "--admin-exposed"); refused == open {
			t.Errorf("%s: %v", address, err)
		}
	}
	o := options(t)
	o.Address, o.Exposed = "0.0.0.0:0", true
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	o = options(t)
	o.Address = "127.0.0.1"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
		t.Errorf("without a port: %v", err)
	}
}

func TestTheProcessIsHealthyWhateverTheAPIDoes(t *testing.T) {
	o := options(t)
	o.Answers = func(context.Context) error { return errors.New("it does not") }
	if code, body := get(t, serve(t, o)+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestItIsReadyWhenTheAPIAnswers(t *testing.T) {
	o := options(t)
	var answer error
	o.Answers = func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the API may take for ever")
		}
		return answer
	}
	page := serve(t, o)
	if code, body := get(t, page+"/readyz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	answer = errors.New("unix:///x does not answer")
	for _, query := range []string{"", "?device=a1B2c3D4e5F/dev-1"} {
		if code, body := get(t, page+"/readyz"+query); code != http.StatusServiceUnavailable || body != "unix:///x does not answer\n" {
			t.Errorf("%s: %d %q", query, code, body)
		}
	}
}

func TestADevicesLinkCanBeProbed(t *testing.T) {
	page := serve(t, options(t))
	for _, c := range []struct {
		query string
		code  int
		says  string
	}{
		{"device=a1B2c3D4e5F/dev-1", http.StatusOK, "ok: a1B2c3D4e5F/dev-1 is online"},
		{"device=a1B2c3D4e5F%2Fdev-1", http.StatusOK, "is online"},
		{"device=a1B2c3D4e5F/dev-2", http.StatusServiceUnavailable, "a1B2c3D4e5F/dev-2 is idle\n"},
		{"device=a1B2c3D4e5F/dev-3", http.StatusServiceUnavailable, "a1B2c3D4e5F/dev-3 is waiting (closed by server)\n"},
		{"device=a1B2c3D4e5F/dev-4", http.StatusNotFound, "does not know the device"},
		{"device=dev-1", http.StatusBadRequest, "PRODUCT_KEY/DEVICE_NAME"},
		{"device=", http.StatusBadRequest, "PRODUCT_KEY/DEVICE_NAME"},
		{"device=a1B2c3D4e5F/a%26b", http.StatusBadRequest, "device_name"},
		{"device=a1B2c3D4e5F/dev-1&device=a1B2c3D4e5F/dev-2", http.StatusBadRequest, "one device at a time"},
		{"name=dev-1", http.StatusBadRequest, `"name" means nothing here`},
	} {
		if code, body := get(t, page+"/readyz?"+c.query); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.query, code, body, c.code, c.says)
		}
	}
}

func TestAPageThatDoesNotServeYetIsNotReady(t *testing.T) {
	s, err := New(options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := httptest.NewRecorder()
	s.readyz(w, httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestProfilesAreServedWhenAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		o := options(t)
		o.Profiles = asked
		page := serve(t, o)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
			code, body := get(t, page+path)
			if want := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[asked]; code != want {
				t.Errorf("%s (asked for: %v): %d %.80q", path, asked, code, body)
			}
		}
	}
}

func TestThereIsNothingElse(t *testing.T) {
	page := serve(t, options(t))
	for _, path := range []string{"/", "/debug", "/metrics/x"} {
		if code, _ := get(t, page+path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	r, err := http.Post(page+"/metrics", "text/plain", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
}
