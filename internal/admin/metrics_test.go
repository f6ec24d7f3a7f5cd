package admin

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// shows fails the test unless the page has the line.
func shows(t *testing.T, page, line string) {
	t.Helper()
	if !strings.Contains("\n"+page, "\n"+line+"\n") {
		t.Errorf("/metrics does not show %s", line)
	}
}

func TestMetricsTellOfAllDevicesTogether(t *testing.T) {
	code, page := get(t, serve(t, options(t))+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, page)
	}
	for _, line := range []string{
		`linkkit_sidecar_build_info{version="v1.2.3"} 1`,
		`linkkit_sidecar_devices{state="online"} 1`,
		`linkkit_sidecar_devices{state="waiting"} 1`,
		`linkkit_sidecar_devices{state="rejected"} 0`,
		`linkkit_sidecar_connects_total 9`,
		`linkkit_sidecar_events_total{kind="lost"} 0`,
		`linkkit_sidecar_journal_last_sequence 0`,
	} {
		shows(t, page, line)
	}
	if strings.Contains(page, "dev-1") {
		t.Error("the page tells the names of devices")
	}
}

func TestDevicesAreToldByNameWhenAskedForAndNoMoreThanSoMany(t *testing.T) {
	o := options(t)
	o.PerDevice = 2
	_, page := get(t, serve(t, o)+"/metrics")
	shows(t, page, `linkkit_sidecar_device_online{device_name="dev-1",product_key="a1B2c3D4e5F"} 1`)
	shows(t, page, `linkkit_sidecar_device_online{device_name="dev-2",product_key="a1B2c3D4e5F"} 0`)
	shows(t, page, `linkkit_sidecar_device_wanted{device_name="dev-2",product_key="a1B2c3D4e5F"} 0`)
	shows(t, page, `linkkit_sidecar_device_connects_total{device_name="dev-1",product_key="a1B2c3D4e5F"} 3`)
	shows(t, page, `linkkit_sidecar_devices_left_out 1`)
	if strings.Contains(page, "dev-3") {
		t.Error("the page tells of a third device")
	}
}

// TestNamesThatOthersChoseSpoilNothing: one sample that is wrong would cost the whole page.
func TestNamesThatOthersChoseSpoilNothing(t *testing.T) {
	o := options(t)
	end := time.Unix(2_000_000_000, 0)
	o.Version = "\xff"
	o.Roots = []Root{{"A root", end}, {"A root", end.Add(-time.Second)}, {"\xff\n\"", end}}
	code, page := get(t, serve(t, o)+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, page)
	}
	shows(t, page, `linkkit_sidecar_trusted_root_expiry_timestamp_seconds{root="A root"} 1.999999999e+09`)
	shows(t, page, `linkkit_sidecar_trusted_root_expiry_timestamp_seconds{root="?\n\""} 2e+09`)
}

func TestEveryKindOfEventThatIsPublishedHasAName(t *testing.T) {
	for kind := event.KindConnecting; int(kind) < event.KnownKinds; kind++ {
		forOneReader := kind == event.KindSnapshot || kind == event.KindGap
		if name := kindNames[kind]; (name == "") != forOneReader || !regexp.MustCompile(`^[a-z_]*$`).MatchString(name) {
			t.Errorf("kind %d is called %q", kind, name)
		}
	}
}

func TestAgesAreNeverNegative(t *testing.T) {
	now := time.Now()
	for want, at := range map[float64]time.Time{0: {}, 60: now.Add(-time.Minute)} {
		if got := age(at, now); got != want {
			t.Errorf("%v is %v s old", at, got)
		}
	}
	if got := age(now.Add(time.Hour), now); got != 0 {
		t.Errorf("after the clock was set back: %v s", got)
	}
}
