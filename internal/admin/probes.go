package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// patience is how long the API may take to answer a probe; who probes has less patience than that by habit.
const patience = 5 * time.Second

// healthz tells that the process lives, and asks nobody: a disk that hangs, or a platform that is away, is no reason to restart it.
func healthz(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// readyz tells whether the API answers and, with ?device=PRODUCT_KEY/DEVICE_NAME, whether the device is online too.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	ask, asked, err := deviceAsked(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.serving.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := s.o.Answers(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if !asked {
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	status, err := s.o.Devices.Device(ask)
	switch {
	case errors.Is(err, conn.ErrUnknownDevice):
		http.Error(w, fmt.Sprintf("%s: %v", ask, err), http.StatusNotFound)
	case err != nil:
		http.Error(w, fmt.Sprintf("%s: %v", ask, err), http.StatusServiceUnavailable)
	case status.State != event.Online:
		http.Error(w, offline(status), http.StatusServiceUnavailable)
	default:
		_, _ = fmt.Fprintf(w, "ok: %s is online\n", ask) //nolint:gosec // it was validated, and is plain text
	}
}

// offline says how a device stands. The details of its last failure are for the API, which is guarded: this page is not.
func offline(s event.Status) string {
	said := fmt.Sprintf("%s is %s", s.Device, s.State)
	if s.LastCause != event.CauseNone {
		said += fmt.Sprintf(" (%s)", s.LastCause)
	}
	return said
}

// deviceAsked is the device that a request names, if it names one.
func deviceAsked(r *http.Request) (id device.ID, asked bool, err error) {
	query := r.URL.Query()
	for name := range query {
		if name != "device" {
			return id, false, fmt.Errorf("%.64q means nothing here: there is ?device=PRODUCT_KEY/DEVICE_NAME", name)
		}
	}
	names := query["device"]
	switch len(names) {
	case 0:
		return id, false, nil
	case 1:
	default:
		return id, false, errors.New("one device at a time: ?device=PRODUCT_KEY/DEVICE_NAME")
	}
	if id, err = device.ParseID(names[0]); err != nil {
		return id, false, fmt.Errorf("device: %w", err)
	}
	return id, true, nil
}
