package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

func registration(change ...func(*RegisterRequest)) RegisterRequest {
	r := RegisterRequest{Registration: platform.Registration{
		ID: dev1, Method: platform.PreRegistered, ProductSecret: device.NewSecret("PsSecret01234567"),
		Endpoint: platform.Endpoint{Host: "localhost"},
	}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func replace(r *RegisterRequest) { r.Replace = true }

// gives makes the platform answer registrations with a secret.
func (p *fakePlatform) gives(secret string) {
	p.set(func(p *fakePlatform) {
		p.reply = func(a attempt) (topic, payload string) {
			if strings.Contains(a.login.ClientID, "authType=regnwl") {
				return "/ext/regnwl", fmt.Sprintf(`{"productKey":%q,"deviceName":%q,"clientId":"client","deviceToken":%q}`, a.id.ProductKey, a.id.DeviceName, secret)
			}
			return "/ext/register", fmt.Sprintf(`{"productKey":%q,"deviceName":%q,"deviceSecret":%q}`, a.id.ProductKey, a.id.DeviceName, secret)
		}
	})
}

func TestARegistrationIsStoredBeforeItIsAnswered(t *testing.T) {
	for method, kind := range map[platform.RegistrationMethod]credential.Kind{
		platform.PreRegistered: credential.DeviceSecret, platform.RegistrationFree: credential.DeviceToken,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nil)
			w.platform.gives("s1")
			c, err := w.Register(t.Context(), registration(func(r *RegisterRequest) { r.Registration.Method = method }))
			if err != nil || c.Kind != kind || w.stored(dev1) != "s1" || c.Source != "register/"+method.String() {
				t.Fatalf("%+v, %v; stored %q", c, err, w.stored(dev1))
			}
			told := of[event.Registered](w.told())
			if len(told) != 1 || told[0].Method != method.String() || told[0].Credential.Fingerprint != c.Fingerprint() {
				t.Errorf("told %+v", told)
			}
			if open, err := w.credentials().Interrupted(); err != nil || len(open) != 0 {
				t.Errorf("the note stays: %v, %v", open, err)
			}
			w.mustConnect()
		})
	}
}

func TestARefusedRegistrationTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "good")
		w.stop()
		w = start(t, w)
		w.platform.refuse(4)
		_, err := w.Register(t.Context(), registration(replace))
		f, ok := errors.AsType[*Failure](err)
		if !ok || f.Code != 4 || !f.Registering || w.stored(dev1) != "good" {
			t.Fatalf("%v; stored %q", err, w.stored(dev1))
		}
		told := of[event.RegistrationFailed](w.told())
		if len(told) != 1 || told[0].Code != 4 || told[0].Interrupted || told[0].Cause != event.CauseConnackBadCredentials {
			t.Errorf("told %+v", told)
		}
		if status, _ := w.Device(dev1); status.RegistrationInterrupted || len(w.Devices()) != 1 {
			t.Errorf("status %+v", status)
		}
	})
}

func TestAFailedRegistrationMakesNoDeviceKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.refuse(4)
		if _, err := w.Register(t.Context(), registration()); err == nil || len(w.Devices()) != 0 {
			t.Errorf("%v; known: %v", err, w.Devices())
		}
		synctest.Wait()
		entry, err := w.log.Open(event.Selection{}).Take(t.Context())
		if snapshot, ok := entry.Event.Body.(event.Snapshot); err != nil || !ok || len(snapshot.Statuses) != 0 {
			t.Errorf("the snapshot has %+v, %v", entry.Event.Body, err)
		}
	})
}

func TestAStoredCredentialIsReplacedOnlyOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "old")
		w.platform.gives("new")
		if _, err := w.Register(t.Context(), registration()); !errors.Is(err, ErrCredentialExists) || len(w.platform.seen()) != 0 {
			t.Errorf("%v after %d logins", err, len(w.platform.seen()))
		}
		if _, err := w.Register(t.Context(), registration(replace)); err != nil || w.stored(dev1) != "new" {
			t.Errorf("%v; stored %q", err, w.stored(dev1))
		}
	})
}

func TestOneRegistrationOfADeviceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.gives("s1")
		w.platform.slow = func(context.Context, attempt) { time.Sleep(time.Second) }
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := w.Register(t.Context(), registration())
				results <- err
			}()
		}
		succeeded := 0
		for range 10 {
			switch err := <-results; {
			case err == nil:
				succeeded++
			case !errors.Is(err, ErrRegistrationInProgress):
				t.Error(err)
			}
		}
		if succeeded != 1 || len(w.platform.seen()) != 1 {
			t.Errorf("%d succeeded, with %d logins", succeeded, len(w.platform.seen()))
		}
	})
}

func TestARegistrationGoesOnWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.gives("s1")
		w.platform.slow = func(context.Context, attempt) { time.Sleep(time.Second) }
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := w.Register(ctx, registration()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Register: %v", err)
		}
		time.Sleep(2 * time.Second)
		if w.stored(dev1) != "s1" {
			t.Errorf("stored %q", w.stored(dev1))
		}
	})
}

func TestRepliesThatCannotBeUsed(t *testing.T) {
	for name, test := range map[string]struct {
		topic, payload string
		want           error
	}{
		"nothing":         {"", "", ErrRegistrationNoReply},
		"another topic":   {"/sys/x", "{}", ErrRegistrationNoReply},
		"garbage":         {"/ext/register", "\x00\xff", ErrRegistrationReply},
		"oversized":       {"/ext/register", `{"x":"` + strings.Repeat("x", 200_000) + `"}`, ErrRegistrationReply},
		"another device":  {"/ext/register", `{"productKey":"a1B2c3D4e5F","deviceName":"other","deviceSecret":"hunter2"}`, ErrRegistrationReply},
		"without secret":  {"/ext/register", `{"productKey":"a1B2c3D4e5F","deviceName":"dev-001"}`, ErrRegistrationReply},
		"an empty secret": {"/ext/register", `{"productKey":"a1B2c3D4e5F","deviceName":"dev-001","deviceSecret":""}`, ErrRegistrationReply},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nil)
				w.platform.reply = func(attempt) (string, string) { return test.topic, test.payload }
				begin := time.Now()
				_, err := w.Register(t.Context(), registration())
				if !errors.Is(err, test.want) || strings.Contains(err.Error(), "hunter2") || time.Since(begin) > time.Minute {
					t.Fatalf("%v after %v", err, time.Since(begin))
				}
				// The platform may have given a secret out, so the note stays, also over a restart, until a registration ends.
				if status, _ := w.Device(dev1); !status.RegistrationInterrupted {
					t.Error("the registration is not told to be interrupted")
				}
				w.stop()
				w = start(t, w)
				if status, _ := w.Device(dev1); !status.RegistrationInterrupted {
					t.Error("after a restart it is forgotten")
				}
				told := of[event.RegistrationFailed](w.told())
				if len(told) != 2 || !told[0].Interrupted || !told[1].Interrupted {
					t.Errorf("told %+v", told)
				}
				w.platform.gives("s1")
				if _, err := w.Register(t.Context(), registration()); err != nil || w.stored(dev1) != "s1" {
					t.Errorf("again: %v; stored %q", err, w.stored(dev1))
				}
				if status, _ := w.Device(dev1); status.RegistrationInterrupted {
					t.Error("it still is told to be interrupted")
				}
			})
		})
	}
}

func TestASecretThatCannotBeStoredIsKeptForTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.gives("once")
		// The disk fails between the note and the credential: the directory is gone when the platform has answered.
		w.platform.slow = func(context.Context, attempt) { breakDir(t, w.dir) }
		if _, err := w.Register(t.Context(), registration()); !errors.Is(err, ErrStorage) {
			t.Fatalf("Register: %v", err)
		}
		mendDir(t, w.dir)
		w.platform.refuse(4) // the platform would not give it out again
		if _, err := w.Register(t.Context(), registration()); err != nil || w.stored(dev1) != "once" {
			t.Errorf("again: %v; stored %q", err, w.stored(dev1))
		}
		if kinds := w.kinds(); !slices.Equal(kinds, []event.Kind{event.KindRegistrationFailed, event.KindRegistered}) {
			t.Errorf("told %v", kinds)
		}
	})
}

func TestRegistrationsThatAreRefusedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		for field, change := range map[string]func(*RegisterRequest){
			"endpoint.region": func(r *RegisterRequest) {
				r.Registration.Method, r.Registration.Endpoint = platform.RegistrationFree, platform.Endpoint{Region: "us-west-1"}
			},
			"tls.plain_tcp":  func(r *RegisterRequest) { r.Target.TLS.PlainTCP = true },
			"product_secret": func(r *RegisterRequest) { r.Registration.ProductSecret = device.Secret{} },
			"endpoint.host":  func(r *RegisterRequest) { r.Registration.Endpoint.Host = "127.0.0.1" },
			"dial_address":   func(r *RegisterRequest) { r.Target.DialAddress = "localhost" },
		} {
			_, err := w.Register(t.Context(), registration(change))
			if wrong, ok := errors.AsType[*platform.FieldError](err); !ok || wrong.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		if n := len(w.platform.seen()); n != 0 {
			t.Errorf("%d logins", n)
		}
	})
}
