package event

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logged publishes events with one status each and returns the lines that the log got, without their time.
func logged(t *testing.T, level slog.Level, status Status, bodies ...Body) (lines []map[string]any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l, err := New(newMemory(), slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level})))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bodies {
			l.Publish(b, status)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		l.Run(ctx)
		for line := range strings.Lines(out.String()) {
			var said map[string]any
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, said)
		}
	})
	return lines
}

func TestEachEventIsOneLineWithAllThatJoinsItWithOthers(t *testing.T) {
	status := Status{Device: dev("dev-001"), State: Online, Attempt: 2, Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Counters: Counters{Connects: 3}}
	lines := logged(t, slog.LevelInfo, status, Attempting{Attempt: 2}, WentOnline{Endpoint: "localhost:8883"}, Lost{Cause: CauseNetwork, Detail: "cut"})
	if len(lines) != 2 {
		t.Fatalf("lines %v", lines)
	}
	for key, want := range map[string]any{
		"level": "INFO", "msg": "online", "device": dev("dev-001").String(), "attempt": 2.0, "link": 3.0, "cursor": "e0:2", "trace_id": status.Trace, "endpoint": "localhost:8883",
	} {
		if got := lines[0][key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if got := lines[1]; got["level"] != "WARN" || got["cursor"] != "e0:3" || got["cause"] != CauseNetwork.String() || got["detail"] != "cut" {
		t.Errorf("the loss is %v", got)
	}
}

func TestEveryStoredKindOfEventHasALine(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	bodies := []Body{
		Attempting{},
		WentOnline{},
		Refused{NextAttempt: at},
		AttemptFailed{},
		Lost{},
		Disconnected{},
		Registered{},
		RegistrationFailed{},
		SubscriptionRefused{},
		TakeoverSuspected{},
		MessagesDropped{Reason: DropInboxStorage},
		Warning{Code: WarnPlainTCP},
		Forgotten{},
		StoredEnded{Count: 1, Ranges: []SequenceRange{{1, 1}}},
		StoredEnded{Reason: EndUnreadable},
	}
	lines := logged(t, slog.LevelDebug, Status{Device: dev("dev-001"), State: Online}, bodies...)
	if len(lines) != len(bodies) {
		t.Errorf("%d events have %d lines: %v", len(bodies), len(lines), lines)
	}
	seen := map[any]bool{}
	for _, l := range lines {
		if seen[l["msg"]] {
			t.Errorf("two kinds are called %q", l["msg"])
		}
		seen[l["msg"]] = true
		if at, given := l["next_attempt"]; given != (l["msg"] == "the platform refused the login") {
			t.Errorf("%q is tried again at %v", l["msg"], at)
		}
	}
	if got := logged(t, slog.LevelDebug, Status{}, Warning{Code: WarnStateSetAside}); len(got) > 0 {
		t.Errorf("it is logged again: %v", got)
	}
}

func TestALongOutageIsAFewLines(t *testing.T) {
	var all []Body
	for n := range 1000 {
		all = append(all, AttemptFailed{Attempt: n + 1, Cause: CauseDNS})
	}
	if n := len(logged(t, slog.LevelInfo, Status{Device: dev("dev-001"), State: Waiting}, all...)); n != 10 {
		t.Errorf("1000 attempts that failed are %d lines, want those of 1, 2, 4 … 512", n)
	}
}
