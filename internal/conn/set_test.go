package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

func TestADeviceComesOnlineAndTheStoryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.mustConnect(func(r *ConnectRequest) { c := secretOf("s1"); r.Credential = &c })
		told := w.told()
		if len(told) != 2 || told[0].(event.Attempting).Attempt != 1 || told[1].Kind() != event.KindOnline {
			t.Errorf("told %v", told)
		}
		status, err := w.Device(dev1)
		if err != nil || !status.Wanted || status.Credential == nil || status.Credential.Kind != "device_secret" || status.Counters.Connects != 1 {
			t.Errorf("status %+v, %v", status, err)
		}
		if w.stored(dev1) != "s1" || !w.desired.wanted(dev1) {
			t.Error("the accepted credential or the wish was not stored")
		}
	})
}

func TestEachAttemptIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		w.platform.link(dev1).lose(cut())
		time.Sleep(time.Minute)
		seen := w.platform.seen()
		if len(seen) != 2 || seen[0].login.ClientID == seen[1].login.ClientID || seen[0].login.Password.Equal(seen[1].login.Password) {
			t.Errorf("%d logins with client ids %q and %q", len(seen), seen[0].login.ClientID, seen[1].login.ClientID)
		}
	})
}

func TestWaitsGrowWithinTheBoundsAndAreReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.fail(event.CauseDNS)
		_, err := w.connect()
		f, ok := errors.AsType[*Failure](err)
		if !ok || f.Cause != event.CauseDNS || f.NextAttempt.IsZero() {
			t.Fatalf("Connect said %v", err)
		}
		time.Sleep(time.Hour)
		seen := w.platform.seen()
		for i := 1; i < len(seen); i++ {
			if gap := seen[i].at.Sub(seen[i-1].at); gap < time.Second || gap > time.Minute || i == 1 && gap > 3*time.Second {
				t.Errorf("wait %d was %v", i, gap)
			}
		}
		if len(seen) < 60 {
			t.Errorf("%d attempts in an hour", len(seen))
		}
		w.platform.accept()
		time.Sleep(10 * time.Minute) // online, and for long enough
		w.platform.link(dev1).lose(cut())
		synctest.Wait()
		if status, _ := w.Device(dev1); status.State != event.Waiting || time.Until(status.NextAttempt) > 3*time.Second {
			t.Errorf("after a link that held the wait is %v", time.Until(status.NextAttempt))
		}
	})
}

func TestAFirstRefusalIsFinalAndTouchesNothing(t *testing.T) {
	for _, code := range []byte{1, 2, 4, 5, 200} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nil)
			w.store(dev1, "good")
			w.platform.refuse(code)
			status, err := w.connect(func(r *ConnectRequest) { c := secretOf("bad"); r.Credential = &c })
			f, ok := errors.AsType[*Failure](err)
			if !ok || f.Code != code || !f.Refused() || status.State != event.Rejected {
				t.Fatalf("Connect: %v, %v", status.State, err)
			}
			time.Sleep(24 * time.Hour)
			if n := len(w.platform.seen()); n != 1 {
				t.Errorf("%d logins in a day", n)
			}
			if w.stored(dev1) != "good" || w.desired.wanted(dev1) {
				t.Error("the stored credential was touched, or the device stays wanted")
			}
			if _, err := w.credentials().Candidate(dev1); !errors.Is(err, credential.ErrNotFound) {
				t.Errorf("the refused credential stays: %v", err)
			}
			refused := of[event.Refused](w.told())
			if len(refused) != 1 || refused[0].Code != code || refused[0].WillRetry || refused[0].Advice == "" || refused[0].Meaning == "" {
				t.Errorf("told %+v", refused)
			}
			w.platform.accept()
			w.mustConnect() // only this leaves the state
		})
	}
}

func TestAnOverloadedPlatformIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.refuse(3)
		if status, err := w.connect(); err == nil || status.State != event.Waiting {
			t.Fatalf("Connect: %v, %v", status.State, err)
		}
		w.platform.accept()
		time.Sleep(2 * time.Minute)
		if status, _ := w.Device(dev1); status.State != event.Online || status.Counters.Refusals != 1 {
			t.Errorf("status %+v", status)
		}
	})
}

func TestADeviceThatWasOnlineAndIsDisabledIsAskedAgainSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		w.platform.refuse(5)
		w.platform.link(dev1).lose(kick())
		time.Sleep(time.Hour)
		if n := len(w.platform.seen()); n < 55 || n > 63 {
			t.Errorf("%d logins in an hour; want about one a minute", n)
		}
		if refused := of[event.Refused](w.told()); len(refused) == 0 || !refused[0].WillRetry || refused[0].NextAttempt.IsZero() {
			t.Errorf("told %+v", refused)
		}
		w.platform.accept()
		time.Sleep(2 * time.Minute)
		if status, _ := w.Device(dev1); status.State != event.Online {
			t.Errorf("after it was enabled: %v", status.State)
		}
	})
}

func TestConnectIsIdempotentAndSettingsConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		w.mustConnect()
		w.mustConnect(func(r *ConnectRequest) { c := secretOf("s1"); r.Credential = &c })
		other := func(r *ConnectRequest) { r.Settings.KeepAlive = 2 * time.Minute }
		if _, err := w.connect(other); !errors.Is(err, ErrSettingsConflict) {
			t.Errorf("other settings: %v", err)
		}
		if _, err := w.connect(func(r *ConnectRequest) { c := secretOf("s2"); r.Credential = &c }); !errors.Is(err, ErrSettingsConflict) {
			t.Errorf("another credential: %v", err)
		}
		if n := len(w.platform.seen()); n != 1 {
			t.Errorf("%d logins", n)
		}
		first := w.platform.link(dev1)
		w.mustConnect(other, func(r *ConnectRequest) { r.Replace = true })
		if !first.isClosed() || w.platform.link(dev1) == first {
			t.Error("replace did not make the link anew")
		}
		if want := []event.Kind{event.KindOnline, event.KindDisconnected, event.KindOnline}; !slices.Equal(w.kinds(), want) {
			t.Errorf("told %v, want %v", w.kinds(), want)
		}
	})
}

func TestANewCredentialTakesTheOldOnesPlaceOnceAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "old")
		w.platform.fail(event.CauseNetwork)
		given := func(r *ConnectRequest) { c := secretOf("new"); r.Credential = &c }
		if _, err := w.connect(given); err == nil || w.stored(dev1) != "old" {
			t.Fatalf("before it was accepted %q is stored (%v)", w.stored(dev1), err)
		}
		w.platform.accept()
		time.Sleep(time.Minute)
		if w.stored(dev1) != "new" {
			t.Errorf("after it was accepted %q is stored", w.stored(dev1))
		}
	})
}

func TestACredentialThatNobodyHasJudgedYetIsKnownAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.fail(event.CauseNetwork)
		if _, err := w.connect(func(r *ConnectRequest) { c := secretOf("new"); r.Credential = &c }); err == nil {
			t.Fatal("the link is up")
		}
		if _, err := w.Disconnect(t.Context(), dev1); err != nil {
			t.Fatal(err)
		}
		w.stop()
		w = start(t, w)
		if status, err := w.Device(dev1); err != nil || status.Credential == nil {
			t.Errorf("after a restart: %+v, %v", status, err)
		}
		if err := w.Forget(t.Context(), dev1, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.credentials().Candidate(dev1); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("the secret is still there: %v", err)
		}
	})
}

func TestDisconnectInEveryState(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"online": func(w *world) { w.mustConnect() },
		"connecting": func(w *world) {
			w.platform.slow = func(ctx context.Context, _ attempt) { <-ctx.Done() }
			w.connectInBackground()
		},
		"waiting":  func(w *world) { w.platform.fail(event.CauseDNS); _, _ = w.connect() },
		"rejected": func(w *world) { w.platform.refuse(4); _, _ = w.connect() },
		"idle":     func(*world) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nil)
				w.store(dev1, "s1")
				w.stop()
				w = start(t, w)
				prepare(w)
				for range 2 {
					status, err := w.Disconnect(t.Context(), dev1)
					if err != nil || status.State != event.Idle || status.Wanted || w.desired.wanted(dev1) {
						t.Fatalf("Disconnect: %+v, %v", status, err)
					}
				}
				if l := w.platform.link(dev1); l != nil && !l.isClosed() {
					t.Error("the link was left open")
				}
				n := len(w.platform.seen())
				time.Sleep(time.Hour)
				if len(w.platform.seen()) != n {
					t.Error("it went on logging in")
				}
			})
		})
	}
}

func (w *world) connectInBackground() {
	go func() { _, _ = w.connect() }()
	synctest.Wait()
}

func TestWhatWasOnlineComesBackAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect(func(r *ConnectRequest) { r.Settings.KeepAlive = 5 * time.Minute })
		w.stop()
		if status, _ := w.Device(dev1); status.State != event.Idle || !status.Wanted {
			t.Errorf("stopped in %v, wanted %v", status.State, status.Wanted)
		}
		w.platform.refuse(5) // disabled while we were away: still no end, it was online before
		w = start(t, w)
		time.Sleep(10 * time.Minute)
		w.platform.accept()
		time.Sleep(2 * time.Minute)
		if status, _ := w.Device(dev1); status.State != event.Online {
			t.Errorf("after the restart: %v", status.State)
		}
		// The settings are the same, so an app that asks again is no conflict.
		w.mustConnect(func(r *ConnectRequest) { r.Settings.KeepAlive = 5 * time.Minute })
		disconnected := of[event.Disconnected](w.told())
		if len(disconnected) != 1 || disconnected[0].Cause != event.CauseShutdown {
			t.Errorf("told %+v", disconnected)
		}
	})
}

func TestWhatPassesWhenTheCallEndsFirst(t *testing.T) {
	for _, test := range []struct {
		wait   Wait
		before bool // wanted before the call
		stays  bool
	}{{WaitOutcome, false, true}, {WaitOutcomeOrGiveUp, false, false}, {WaitOutcomeOrGiveUp, true, true}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nil)
				w.store(dev1, "s1")
				w.platform.slow = func(ctx context.Context, _ attempt) { <-ctx.Done() }
				if test.before {
					w.connectInBackground()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := w.Connect(ctx, ConnectRequest{Device: dev1, Settings: DefaultSettings(), Wait: test.wait})
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Connect: %v", err)
				}
				status, _ := w.Device(dev1)
				if status.Wanted != test.stays || w.desired.wanted(dev1) != test.stays {
					t.Errorf("wanted afterwards: %v", status.Wanted)
				}
				w.platform.set(func(p *fakePlatform) { p.slow = nil })
				time.Sleep(2 * time.Minute)
				if status, _ := w.Device(dev1); (status.State == event.Online) != test.stays {
					t.Errorf("later: %v", status.State)
				}
			})
		})
	}
}

func TestConnectWithoutWaitingReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		begin := time.Now()
		w.platform.slow = func(context.Context, attempt) { time.Sleep(time.Second) }
		if status, err := w.connect(func(r *ConnectRequest) { r.Wait = WaitNone }); err != nil || !status.Wanted || time.Since(begin) > 0 {
			t.Errorf("%+v, %v after %v", status, err, time.Since(begin))
		}
		time.Sleep(2 * time.Second)
		if status, _ := w.Device(dev1); status.State != event.Online {
			t.Errorf("later: %v", status.State)
		}
	})
}

func TestWithoutACredentialThereIsAnErrorAndNoDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		if _, err := w.connect(); !errors.Is(err, ErrNoCredential) {
			t.Errorf("Connect: %v", err)
		}
		if _, err := w.Device(dev1); !errors.Is(err, ErrUnknownDevice) || len(w.Devices()) != 0 {
			t.Errorf("the device became known: %v", err)
		}
		if _, err := w.Disconnect(t.Context(), dev1); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("Disconnect: %v", err)
		}
		if err := w.Forget(t.Context(), dev1, true); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("Forget: %v", err)
		}
	})
}

func TestARefusedDeviceThatIsLetGoIsKnownToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.platform.refuse(4)
		if _, err := w.connect(func(r *ConnectRequest) { c := secretOf("bad"); r.Credential = &c }); err == nil {
			t.Fatal("it was accepted")
		}
		subscription := w.subscribe(own + "x")
		if _, err := w.Disconnect(t.Context(), dev1); err != nil || len(w.Devices()) != 0 {
			t.Errorf("%v; known: %v", err, w.Devices())
		}
		if _, err := subscription.Take(t.Context()); !errors.Is(err, ErrUnknownDevice) {
			t.Errorf("its subscription: %v", err)
		}
		subscription.Close()
		synctest.Wait()
		entry, err := w.log.Open(event.Selection{}).Take(t.Context())
		if snapshot, ok := entry.Event.Body.(event.Snapshot); err != nil || !ok || len(snapshot.Statuses) != 0 {
			t.Errorf("the snapshot has %+v, %v", entry.Event.Body, err)
		}
	})
}

func TestTheDeviceMayBeLeftOutWhenThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		if _, err := w.Resolve(device.ID{}); !errors.Is(err, ErrAmbiguousDevice) {
			t.Errorf("of none: %v", err)
		}
		given := func(r *ConnectRequest) { c := secretOf("s"); r.Credential = &c }
		w.mustConnect(given)
		if id, err := w.Resolve(device.ID{}); id != dev1 || err != nil {
			t.Errorf("of one: %v, %v", id, err)
		}
		w.mustConnect(given, func(r *ConnectRequest) { r.Device = dev2 })
		if _, err := w.Resolve(device.ID{}); !errors.Is(err, ErrAmbiguousDevice) {
			t.Errorf("of two: %v", err)
		}
		if all := w.Devices(); len(all) != 2 || all[0].Device != dev1 || all[1].Device != dev2 {
			t.Errorf("devices %v", all)
		}
	})
}

func TestAForgottenDeviceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.mustConnect(func(r *ConnectRequest) { c := secretOf("s1"); r.Credential = &c })
		if err := w.Forget(t.Context(), dev1, false); !errors.Is(err, ErrStillConnected) {
			t.Errorf("while connected: %v", err)
		}
		if err := w.Forget(t.Context(), dev1, true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.credentials().Get(dev1); !errors.Is(err, credential.ErrNotFound) || len(w.Devices()) != 0 || w.desired.wanted(dev1) {
			t.Errorf("left over: %v, %v", err, w.Devices())
		}
		if kinds := w.kinds(); kinds[len(kinds)-1] != event.KindForgotten {
			t.Errorf("told %v", kinds)
		}
	})
}

func TestAFullDiskRefusesANewWishAndLeavesTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		w.desired.broken = statedir.ErrDiskFull
		_, err := w.connect(func(r *ConnectRequest) { r.Settings.KeepAlive, r.Replace = 2*time.Minute, true })
		if status, _ := w.Device(dev1); !errors.Is(err, statedir.ErrDiskFull) || status.State != event.Online {
			t.Errorf("%v; the device is %v", err, status.State)
		}
		w.desired.broken = errors.New("broken")
		if _, err := w.Disconnect(t.Context(), dev1); !errors.Is(err, ErrStorage) {
			t.Errorf("Disconnect: %v", err)
		}
	})
}

func TestLoginsKeepToThePlatformsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, func(o *Options) { o.ConnectsPerMinute = platform.MaxConnectsPerMinute })
		w.store(dev1, "s1")
		for range 100 {
			_, _ = w.connect()
			_, _ = w.Disconnect(t.Context(), dev1)
			time.Sleep(time.Second)
		}
		seen := w.platform.seen()
		for i := platform.MaxConnectsPerMinute; i < len(seen); i++ {
			if gap := seen[i].at.Sub(seen[i-platform.MaxConnectsPerMinute].at); gap < time.Minute {
				t.Errorf("logins %d to %d within %v", i-platform.MaxConnectsPerMinute, i, gap)
			}
		}
		if len(seen) < 8 {
			t.Errorf("only %d logins", len(seen))
		}
	})
}

func TestSoManyHandshakesAtOnceAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		now, most := 0, 0
		w.platform.slow = func(context.Context, attempt) {
			w.platform.set(func(*fakePlatform) { now++; most = max(most, now) })
			time.Sleep(time.Second)
			w.platform.set(func(*fakePlatform) { now-- })
		}
		for i := range 100 {
			c := secretOf("s")
			id := device.ID{ProductKey: "pk", DeviceName: fmt.Sprint("d", i)}
			if _, err := w.connect(func(r *ConnectRequest) { r.Device, r.Credential, r.Wait = id, &c, WaitNone }); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		w.platform.set(func(*fakePlatform) {
			if most != DefaultHandshakes {
				t.Errorf("%d handshakes at once, want %d", most, DefaultHandshakes)
			}
		})
		for _, s := range w.Devices() {
			if s.State != event.Online {
				t.Errorf("%v is %v", s.Device, s.State)
			}
		}
	})
}

func TestTwoSidecarsWithOneIdentitySettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := start(t, nil)
		two := start(t, nil)
		two.env.open = one.platform.open // the same platform
		for _, w := range []*world{one, two} {
			w.store(dev1, "s1")
		}
		one.mustConnect()
		two.mustConnect()
		time.Sleep(time.Minute) // they fight
		before := len(one.platform.seen())
		time.Sleep(time.Minute)
		if n := len(one.platform.seen()) - before; n >= 10 {
			t.Errorf("%d logins in the minute after", n)
		}
		if before >= 20 {
			t.Errorf("%d logins in the first minute", before)
		}
		time.Sleep(3 * time.Minute) // the one that was not first to slow down learns of it at the end of the other's truce
		for i, w := range []*world{one, two} {
			if n := len(of[event.TakeoverSuspected](w.told())); n != 1 {
				t.Errorf("sidecar %d said so %d times", i+1, n)
			}
		}
		two.stop()
		time.Sleep(time.Hour)
		if status, _ := one.Device(dev1); status.State != event.Online || status.TakeoverSuspected {
			t.Errorf("an hour after the rival left: %v, suspected %v", status.State, status.TakeoverSuspected)
		}
	})
}

func TestCutsRaiseNoSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		for i := range 400 {
			time.Sleep(time.Duration(i*i%7_919) * time.Millisecond) // 0 to 8 s: each of them shortly after CONNACK
			if status, _ := w.Device(dev1); status.State == event.Online {
				w.platform.link(dev1).lose(cut())
			}
		}
		if told := of[event.TakeoverSuspected](w.told()); len(told) != 0 {
			t.Errorf("suspected %+v", told)
		}
		if lost := of[event.Lost](w.told()); len(lost) < 10 {
			t.Errorf("only %d links were lost", len(lost))
		}
	})
}

func TestCallsAfterTheEndAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.platform.slow = func(ctx context.Context, _ attempt) { <-ctx.Done() }
		done := make(chan error, 1)
		go func() {
			_, err := w.connect()
			done <- err
		}()
		synctest.Wait()
		w.stop()
		if err := <-done; !errors.Is(err, ErrShuttingDown) {
			t.Errorf("a waiting Connect: %v", err)
		}
		if _, err := w.connect(); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("Connect: %v", err)
		}
		if _, err := w.Disconnect(t.Context(), dev1); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("Disconnect: %v", err)
		}
	})
}

func TestUnclaimedMessagesAreCountedAndToldOfSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		w.store(dev1, "s1")
		w.mustConnect()
		heard := w.platform.seen()[0].onMessage
		for range 100 {
			heard(message.Incoming{Topic: "/sys/x"}, func() {})
		}
		time.Sleep(2 * time.Minute)
		heard(message.Incoming{Topic: "/sys/y"}, func() {})
		dropped := of[event.MessagesDropped](w.told())
		if len(dropped) != 3 || dropped[0].Count != 1 || dropped[1].Count != 99 || dropped[2].Topic != "/sys/y" {
			t.Errorf("told %+v", dropped)
		}
		if status, _ := w.Device(dev1); status.Counters.Unclaimed != 101 {
			t.Errorf("counted %d", status.Counters.Unclaimed)
		}
	})
}
