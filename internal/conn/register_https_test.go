package conn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// httpsServer is a registration server on loopback that calls itself example.com.
func httpsServer(t *testing.T, handler http.HandlerFunc) (w *world, r RegisterRequest) {
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	w = start(t, nil, func(o *Options) { o.ExtraCA = []*x509.Certificate{server.Certificate()} })
	return w, registration(func(r *RegisterRequest) {
		r.Registration.Method = platform.HTTPSLegacy
		r.Registration.Endpoint = platform.Endpoint{Host: "example.com"}
		r.Target.DialAddress = server.Listener.Addr().String()
	})
}

func TestHTTPSRegistration(t *testing.T) {
	w, r := httpsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/auth/register/device" || r.TLS.ServerName != "example.com" {
			t.Errorf("%s %s to %s", r.Method, r.URL.Path, r.TLS.ServerName)
		}
		for _, field := range []string{"productKey", "deviceName", "random", "sign", "signMethod"} {
			if r.PostFormValue(field) == "" {
				t.Errorf("%s is missing", field)
			}
		}
		_, _ = io.WriteString(w, `{"code":200,"data":{"productKey":"a1B2c3D4e5F","deviceName":"dev-001","deviceSecret":"s1"},"message":"success"}`)
	})
	if _, err := w.Register(t.Context(), r); err != nil || w.stored(dev1) != "s1" {
		t.Errorf("%v; stored %q", err, w.stored(dev1))
	}
}

func TestHTTPSRegistrationsThatFail(t *testing.T) {
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, test := range map[string]struct {
		handler     http.HandlerFunc
		refused     int // with this code
		cause       event.Cause
		interrupted bool
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"code":6289,"message":"device is already activated"}`)
		}, 6289, event.CauseRegistrationRefused, false},
		"garbage":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 0, event.CauseProtocolViolation, true},
		"oversized": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) }, 0, event.CauseProtocolViolation, true},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, 0, event.CauseProtocolViolation, true},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
		}, 0, event.CauseClosedByServer, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := httpsServer(t, test.handler)
			_, err := w.Register(t.Context(), r)
			refused, _ := errors.AsType[*platform.RegistrationRefusedError](err)
			if err == nil || (refused != nil) != (test.refused != 0) || refused != nil && refused.Code != test.refused {
				t.Fatalf("Register: %v", err)
			}
			reader := w.log.Open(event.Selection{Kinds: []event.Kind{event.KindRegistrationFailed}, After: &event.Cursor{Epoch: "epoch"}})
			for {
				e, err := reader.Take(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				told, ok := e.Event.Body.(event.RegistrationFailed)
				if !ok {
					continue
				}
				if told.Cause != test.cause || told.Interrupted != test.interrupted || told.Code != test.refused {
					t.Errorf("told %+v", told)
				}
				break
			}
		})
	}
	if elsewhere != 0 {
		t.Error("the signature was sent on to where a redirect pointed")
	}
}

func TestAnHTTPSServerThatIsNotTrustedGetsNothing(t *testing.T) {
	asked := false
	w, r := httpsServer(t, func(http.ResponseWriter, *http.Request) { asked = true })
	r.Registration.Endpoint.Host = "another.example.org"
	_, err := w.Register(t.Context(), r)
	if f, ok := errors.AsType[*Failure](err); !ok || f.Cause != event.CauseTLSNameMismatch || asked {
		t.Errorf("%v; asked: %v", err, asked)
	}
}

func TestAnHTTPSServerThatSaysNothingIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	w, r := httpsServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server's Close
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.env.obtainHTTPS(ctx, r)
	if f, ok := errors.AsType[*Failure](err); !ok || f.Cause != event.CauseRegistrationNoReply || !f.mayHaveRegistered {
		t.Errorf("obtainHTTPS: %v", fmt.Sprintf("%+v", err))
	}
}
