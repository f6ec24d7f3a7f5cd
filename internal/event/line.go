package event

import (
	"context"
	"fmt"
	"log/slog"
	"math/bits"
	"strconv"
	"time"
)

// tell writes an event into the log: this is the one place where what happens to devices is logged. The line has the event's cursor,
// and of its device the attempt and the link it concerns. Of an outage of days it has some lines a device, not one for each attempt.
func (l *Log) tell(p published, epoch string) {
	level, what, fields := line(p.event.Body)
	if what == "" || !l.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 5+len(fields))
	if !p.event.Device.IsZero() {
		attrs = append(attrs, slog.String("device", p.event.Device.String()), slog.Int("attempt", p.status.Attempt),
			slog.Uint64("link", p.status.Counters.Connects))
	}
	attrs = append(attrs, slog.String("cursor", epoch+":"+strconv.FormatUint(p.event.Sequence, 10)))
	if p.status.Trace != "" {
		attrs = append(attrs, slog.String("trace_id", p.status.Trace))
	}
	l.log.LogAttrs(context.Background(), level, what, append(attrs, fields...)...) //nolint:sloglint // line has a fixed text for each kind
}

// line is how an event is logged; not at all when what is "".
func line(body Body) (level slog.Level, what string, fields []slog.Attr) {
	switch b := body.(type) {
	case Attempting:
		return slog.LevelDebug, "connecting", []slog.Attr{slog.String("endpoint", b.Endpoint)}
	case WentOnline:
		return slog.LevelInfo, "online", []slog.Attr{slog.String("endpoint", b.Endpoint), slog.Bool("session_present", b.SessionPresent)}
	case Refused:
		return slog.LevelWarn, "the platform refused the login", []slog.Attr{
			slog.Int("code", int(b.Code)), slog.String("meaning", b.Meaning), slog.String("advice", b.Advice),
			slog.Bool("will_retry", b.WillRetry), next(b.NextAttempt),
		}
	case AttemptFailed:
		level = slog.LevelDebug
		if bits.OnesCount(uint(b.Attempt)) <= 1 { // the first, second, fourth, eighth …
			level = slog.LevelWarn
		}
		return level, "an attempt to connect failed", []slog.Attr{
			slog.String("cause", b.Cause.String()), slog.String("detail", b.Detail), next(b.NextAttempt),
		}
	case Lost:
		return slog.LevelWarn, "the link was lost", []slog.Attr{
			slog.String("cause", b.Cause.String()), slog.String("detail", b.Detail),
			slog.Duration("held", b.Held), next(b.NextAttempt),
		}
	case Disconnected:
		return slog.LevelInfo, "disconnected", []slog.Attr{slog.String("cause", b.Cause.String())}
	case Registered:
		return slog.LevelInfo, "registered", []slog.Attr{
			slog.String("method", b.Method), slog.String("credential", b.Credential.Kind), slog.String("fingerprint", b.Credential.Fingerprint),
		}
	case RegistrationFailed:
		return slog.LevelWarn, "a registration failed", []slog.Attr{
			slog.String("method", b.Method), slog.String("cause", b.Cause.String()), slog.String("detail", b.Detail),
			slog.Int("code", b.Code), slog.Bool("interrupted", b.Interrupted),
		}
	case SubscriptionRefused:
		return slog.LevelWarn, "the platform refused a subscription", []slog.Attr{slog.String("filter", b.Filter)}
	case TakeoverSuspected:
		return slog.LevelWarn, "another program seems to log in as the device", []slog.Attr{
			slog.Int("losses", b.Losses), next(b.NextAttempt),
		}
	case MessagesDropped:
		return slog.LevelWarn, "messages were dropped", []slog.Attr{
			slog.Uint64("count", b.Count), slog.String("reason", b.Reason.String()), slog.String("topic", b.Topic),
		}
	case StoredEnded:
		return storedLine(b)
	case Warning:
		if b.Code == WarnStateSetAside {
			return 0, "", nil // who sets it aside logs it, and knows more
		}
		return slog.LevelWarn, "something should be looked at", []slog.Attr{slog.String("warning", b.Code.String()), slog.String("detail", b.Detail)}
	case Forgotten:
		return slog.LevelInfo, "forgotten", nil
	}
	return 0, "", nil // made for one reader
}

// next is the time of the next attempt, if there is one: handlers leave an empty Attr out.
func next(at time.Time) slog.Attr {
	if at.IsZero() {
		return slog.Attr{}
	}
	return slog.Time("next_attempt", at)
}

func storedLine(b StoredEnded) (level slog.Level, what string, fields []slog.Attr) {
	fields = []slog.Attr{slog.Uint64("count", b.Count)}
	if n := len(b.Ranges); n > 0 {
		fields = append(fields, slog.Uint64("first", b.Ranges[0].First), slog.Uint64("last", b.Ranges[n-1].Last))
	}
	if b.Reason == 0 {
		return slog.LevelDebug, "stored messages were sent", fields
	}
	return slog.LevelWarn, "stored messages were not sent", append(fields, slog.String("reason", b.Reason.String()))
}

func (r DropReason) String() string {
	return nameOf(int(r), "unclaimed", "slow reader", "inbox full", "dead letter", "by consumer", "inbox storage")
}

func (r EndReason) String() string {
	return nameOf(int(r), "expired", "made room", "forgotten", "unreadable")
}

func (c WarningCode) String() string {
	return nameOf(int(c), "root expires", "host name not verified", "plain TCP", "state set aside")
}

// nameOf is the name of a number that counts from 1.
func nameOf(n int, names ...string) string {
	if n < 1 || n > len(names) {
		return fmt.Sprintf("unknown (%d)", n)
	}
	return names[n-1]
}
