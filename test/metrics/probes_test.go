package metrics

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

const dev1 = harness.ProductKey + "/dev-001"

func TestProbesTellOfTheProcessTheAPIAndALink(t *testing.T) {
	w := start(t)
	expect := func(path string, code int, says string) {
		t.Helper()
		if got, body := w.get(path); got != code || !strings.Contains(body, says) {
			t.Errorf("%s: %d %q, want %d %q", path, got, body, code, says)
		}
	}
	expect("/healthz", http.StatusOK, "ok")
	expect("/readyz", http.StatusOK, "ok")
	expect("/readyz?device="+dev1, http.StatusNotFound, "does not know the device")
	expect("/readyz?device=dev-001", http.StatusBadRequest, "PRODUCT_KEY/DEVICE_NAME")
	expect("/debug/pprof/", http.StatusNotFound, "")
	w.connect()
	expect("/readyz?device="+dev1, http.StatusOK, "is online")
	w.platform.Kill()
	harness.Eventually(t, "the loss of the link", func() bool {
		code, body := w.get("/readyz?device=" + dev1)
		return code == http.StatusServiceUnavailable && strings.Contains(body, dev1+" is waiting (")
	})
	expect("/readyz", http.StatusOK, "ok") // the platform is no reason to take the sidecar out of service
	if _, err := w.Devices.Disconnect(harness.Within(t), &pb.DisconnectRequest{}); err != nil {
		t.Fatal(err)
	}
	expect("/readyz?device="+dev1, http.StatusServiceUnavailable, "is idle")
}

// TestASidecarWhoseSocketWasTakenAwayIsNotReady: its listener is bound and served, and no app finds it.
func TestASidecarWhoseSocketWasTakenAwayIsNotReady(t *testing.T) {
	w := start(t)
	if err := syscall.Unlink(w.SocketPath("address")); err != nil {
		t.Fatal(err)
	}
	if code, body := w.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "does not answer") {
		t.Errorf("/readyz: %d %q", code, body)
	}
	if code, _ := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
}

func TestProfilesAreThereWhenAskedFor(t *testing.T) {
	w := start(t, "--admin-pprof")
	if code, body := w.get("/debug/pprof/goroutine?debug=1"); code != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.80q", code, body)
	}
	if code, body := w.get("/debug/pprof/profile?seconds=1"); code != http.StatusOK || len(body) == 0 {
		t.Errorf("%d %.80q", code, body)
	}
}
