package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// lines writes text for people and keeps the first error.
type lines struct {
	w   io.Writer
	err error
}

// printf makes its arguments harmless to a terminal: they may come from the network.
func (l *lines) printf(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	l.write(fmt.Sprintf(format, args...))
}

func (l *lines) write(s string) {
	if l.err == nil {
		_, l.err = io.WriteString(l.w, s)
	}
}

func deviceName(d *pb.Device) string {
	if d == nil {
		return "-"
	}
	return d.GetProductKey() + "/" + d.GetDeviceName()
}

// word is the name of a proto enum's value for people: "server unavailable" of CAUSE_SERVER_UNAVAILABLE.
func word(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(value.String(), prefix), "_", " "))
}

func stateName(s pb.LinkState) string { return word(s, "LINK_STATE_") }

// causeName is "" when there is none.
func causeName(c pb.Cause) string {
	if c == 0 {
		return ""
	}
	return word(c, "CAUSE_")
}

func kindOfCredential(k pb.CredentialKind) string { return word(k, "CREDENTIAL_KIND_") }

func describeCredential(c *pb.CredentialInfo) string {
	if c == nil {
		return "none stored"
	}
	return fmt.Sprintf("%s %s, from %s, stored %s", kindOfCredential(c.GetKind()), c.GetFingerprint(), c.GetSource(), clock(c.GetStoredTime()))
}

func shortCredential(c *pb.CredentialInfo) string {
	if c == nil {
		return ""
	}
	return kindOfCredential(c.GetKind()) + " " + c.GetFingerprint()
}

func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return "an unknown time"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

// ago is how long t is past, "3m12s ago".
func ago(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "never"
	}
	return roughly(now.Sub(t.AsTime())) + " ago"
}

// until is how far t is ahead, "in 12s"; "" when there is no t.
func until(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return ""
	}
	return "in " + roughly(t.AsTime().Sub(now))
}

// roughly is a duration to two places, such as "3m12s", "5h4m" or "12d3h". Clocks of two machines differ: it is never below 0.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

func bytesText(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func plural(n uint64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
