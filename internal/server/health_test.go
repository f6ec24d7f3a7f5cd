package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

func TestHealthOfTheProcessAndOfLinks(t *testing.T) {
	w := serve(t)
	w.devices.become(dev1, event.Online, event.WentOnline{})
	w.devices.become(dev2, event.Waiting, event.Lost{})
	h := w.health()
	for service, want := range map[string]grpc_health_v1.HealthCheckResponse_ServingStatus{
		"":                                       serving,
		"linkkit_sidecar.v1.ConnectivityService": serving,
		"link/" + dev1.String():                  serving,
		"link/" + dev2.String():                  notServing,
	} {
		if got, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); err != nil || got.GetStatus() != want {
			t.Errorf("%q: %v, %v", service, got, err)
		}
	}
	for service, reason := range map[string]string{
		"link/" + dev("unknown").String(): "DEVICE_UNKNOWN",
		"link/a|b/c":                      "INVALID_REQUEST",
		"link/":                           "INVALID_REQUEST",
		"linkkit":                         "INVALID_REQUEST",
	} {
		_, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		refused(t, err, codes.NotFound, reason)
	}
}

// watcher reads health; next fails the test unless the next status is want.
func watch(t *testing.T, w *world, service string) (next func(want grpc_health_v1.HealthCheckResponse_ServingStatus), end func() error) {
	t.Helper()
	s, err := w.health().Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	next = func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		got, err := s.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("%q: %v, %v, want %v", service, got, err, want)
		}
	}
	return next, func() error { _, err := s.Recv(); return err }
}

func TestTheHealthOfALinkFollowsTheEvents(t *testing.T) {
	w := serve(t)
	next, end := watch(t, w, "link/"+dev1.String())
	next(serviceUnknown)
	w.devices.become(dev2, event.Online, event.WentOnline{}) // another's health
	w.devices.become(dev1, event.Connecting, event.Attempting{Attempt: 1})
	next(notServing)
	w.devices.become(dev1, event.Waiting, event.AttemptFailed{})
	w.devices.become(dev1, event.Online, event.WentOnline{})
	next(serving)
	w.devices.become(dev1, event.Online, event.Warning{}) // no change
	w.devices.become(dev1, event.Online, event.RegistrationFailed{})
	w.devices.become(dev1, event.Waiting, event.Lost{})
	next(notServing)
	if err := w.devices.Forget(t.Context(), dev1, true); err != nil {
		t.Fatal(err)
	}
	next(serviceUnknown)
	w.devices.become(dev1, event.Idle, event.Registered{})
	next(notServing)
	w.devices.become(dev1, event.Online, event.WentOnline{})
	next(serving)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	next(notServing)
	refused(t, end(), codes.Unavailable, "SHUTTING_DOWN")
}

func TestTheHealthOfALinkThatIsUpIsToldAtOnce(t *testing.T) {
	w := serve(t)
	w.devices.become(dev1, event.Online, event.WentOnline{})
	until(t, "the log shows it", func() bool {
		e, err := w.log.Open(event.Selection{}).Take(t.Context())
		return err == nil && len(e.Event.Body.(event.Snapshot).Statuses) == 1
	})
	next, _ := watch(t, w, "link/"+dev1.String())
	next(serving)
}

func TestWhoeverWatchesTheProcessIsToldThatItStops(t *testing.T) {
	w := serve(t)
	var ends []func()
	for _, c := range []struct {
		service string
		want    grpc_health_v1.HealthCheckResponse_ServingStatus
	}{{"", serving}, {"linkkit_sidecar.v1.ConnectivityService", serving}, {"nothing", serviceUnknown}, {"link/" + strings.Repeat("x", 99), serviceUnknown}} {
		next, end := watch(t, w, c.service)
		next(c.want)
		ends = append(ends, func() {
			next(notServing)
			refused(t, end(), codes.Unavailable, "SHUTTING_DOWN")
		})
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for _, ended := range ends {
		ended()
	}
}
