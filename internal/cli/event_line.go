package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// eventPrinter writes events as lines for people: time, device, kind, cause, detail.
type eventPrinter struct {
	w      io.Writer
	colour palette
	// clock is how times are written: short on a terminal, where one knows what day it is.
	clock string
	// widest device name so far: the columns behind it keep their place.
	widest int
}

const (
	shortClock = "15:04:05.000"
	fullClock  = "2006-01-02T15:04:05.000Z07:00"
)

func (r *run) eventPrinter() *eventPrinter {
	p := &eventPrinter{w: r.Stdout, colour: r.colour(), clock: fullClock}
	if r.terminal() {
		p.clock = shortClock
	}
	return p
}

// eventText is an event in words.
type eventText struct{ kind, cause, detail, colour string }

func (p *eventPrinter) print(e *pb.EventsResponse) error {
	w := &lines{w: p.w}
	if snapshot := e.GetSnapshot(); snapshot != nil {
		for _, s := range snapshot.GetDevices() {
			p.line(w, e.GetTime(), s.GetDevice(), statusText(s, e.GetTime()))
		}
		return w.err
	}
	p.line(w, e.GetTime(), e.GetDevice(), textOf(e))
	return w.err
}

func (p *eventPrinter) line(w *lines, at *timestamppb.Timestamp, d *pb.Device, t eventText) {
	name := deviceName(d)
	if d == nil {
		name = "(sidecar)"
	}
	p.widest = max(p.widest, len(name))
	words := t.detail
	if t.cause != "" {
		words = strings.TrimSuffix(t.cause+": "+t.detail, ": ")
	}
	w.printf("%s  %-*s  %s %s\n", p.colour.paint(dim, at.AsTime().Local().Format(p.clock)), p.widest, name,
		p.colour.paint(t.colour, fmt.Sprintf("%-19s", t.kind)), words)
}

// statusText is where a device stands, as a line among events.
func statusText(s *pb.DeviceStatus, now *timestamppb.Timestamp) eventText {
	detail := "for " + roughly(now.AsTime().Sub(s.GetStateTime().AsTime()))
	if s.GetEndpoint() != "" {
		detail = "at " + s.GetEndpoint() + ", " + detail
	}
	if s.GetNextAttemptTime() != nil {
		detail += again(now, s.GetNextAttemptTime())
	}
	return eventText{kind: "is " + stateName(s.GetState()), cause: "", detail: detail, colour: stateColour(s.GetState())}
}

// textOf says an event in words.
func textOf(e *pb.EventsResponse) eventText {
	now := e.GetTime()
	switch b := e.GetEvent().(type) {
	case *pb.EventsResponse_Connecting:
		return eventText{"connecting", "", fmt.Sprintf("to %s, attempt %d", b.Connecting.GetEndpoint(), b.Connecting.GetAttempt()), yellow}
	case *pb.EventsResponse_Online:
		detail := fmt.Sprintf("at %s, attempt %d", b.Online.GetEndpoint(), b.Online.GetAttempt())
		if b.Online.GetSessionPresent() {
			detail += ", the platform kept the session"
		}
		return eventText{"online", "", detail, green}
	case *pb.EventsResponse_Refused:
		f := b.Refused
		detail := fmt.Sprintf("CONNACK %d: %s; %s%s", f.GetCode(), f.GetMeaning(), f.GetAdvice(), again(now, f.GetNextAttemptTime()))
		if !f.GetWillRetry() {
			detail += "; does not try again by itself"
		}
		return eventText{"refused", causeName(f.GetCause()), detail, red}
	case *pb.EventsResponse_AttemptFailed:
		f := b.AttemptFailed
		return eventText{"attempt failed", causeName(f.GetCause()), f.GetDetail() + again(now, f.GetNextAttemptTime()), red}
	case *pb.EventsResponse_Lost:
		f := b.Lost
		held := roughly(time.Duration(f.GetHeldMs()) * time.Millisecond)
		return eventText{"lost", causeName(f.GetCause()), f.GetDetail() + "; it had held " + held + again(now, f.GetNextAttemptTime()), red}
	case *pb.EventsResponse_Disconnected:
		return eventText{"disconnected", causeName(b.Disconnected.GetCause()), "", bold}
	case *pb.EventsResponse_Registered:
		return eventText{"registered", "", "by " + b.Registered.GetMethod() + "; stored: " + describeCredential(b.Registered.GetCredential()), green}
	case *pb.EventsResponse_RegistrationFailed:
		return eventText{"registration failed", causeName(b.RegistrationFailed.GetCause()), b.RegistrationFailed.GetDetail(), red}
	}
	return rareTextOf(e)
}

// rareTextOf says what happens less often.
func rareTextOf(e *pb.EventsResponse) eventText {
	switch b := e.GetEvent().(type) {
	case *pb.EventsResponse_SubscriptionRefused:
		return eventText{"subscription refused", "", b.SubscriptionRefused.GetFilter(), red}
	case *pb.EventsResponse_TakeoverSuspected:
		detail := fmt.Sprintf("the server closed the link shortly after accepting it, %d times in a row: does another program use this identity?%s",
			b.TakeoverSuspected.GetLosses(), again(e.GetTime(), b.TakeoverSuspected.GetNextAttemptTime()))
		return eventText{"takeover suspected", "", detail, red}
	case *pb.EventsResponse_MessagesDropped:
		f := b.MessagesDropped
		detail := fmt.Sprintf("%s; the last one on %s", plural(f.GetCount(), "message", "messages"), f.GetTopic())
		return eventText{"messages dropped", word(f.GetReason(), "DROP_REASON_"), detail, yellow}
	case *pb.EventsResponse_StoredEnded:
		e := b.StoredEnded
		detail := fmt.Sprintf("%s: %s", plural(e.GetCount(), "message", "messages"), ranges(e.GetRanges()))
		if e.GetReason() == 0 {
			return eventText{"stored messages", word(e.GetOutcome(), "OUTCOME_"), detail, ""}
		}
		return eventText{"stored messages", word(e.GetOutcome(), "OUTCOME_"), detail + ": " + word(e.GetReason(), "ERROR_REASON_"), yellow}
	case *pb.EventsResponse_Warning:
		return eventText{"warning", word(b.Warning.GetCode(), "WARNING_CODE_"), b.Warning.GetDetail(), yellow}
	case *pb.EventsResponse_Forgotten:
		return eventText{"forgotten", "", "its credential and its settings are gone", bold}
	case *pb.EventsResponse_EventsLost:
		detail := b.EventsLost.GetDetail()
		if n := b.EventsLost.GetCount(); n > 0 {
			detail = plural(n, "event", "events") + ": " + detail
		}
		return eventText{"events lost", "", detail, red}
	}
	return eventText{"something", "", "of a kind that this client does not know: the sidecar is newer", yellow}
}

// again says when the sidecar tries again, seen from the event.
func again(now, next *timestamppb.Timestamp) string {
	if next == nil {
		return ""
	}
	return "; tries again in " + roughly(next.AsTime().Sub(now.AsTime()))
}

// ranges names numbers, at most a few ranges of them.
func ranges(all []*pb.SequenceRange) string {
	const few = 5
	var text []string
	for i, r := range all {
		if i == few {
			text = append(text, "…")
			break
		}
		if r.GetFirst() == r.GetLast() {
			text = append(text, strconv.FormatUint(r.GetFirst(), 10))
		} else {
			text = append(text, fmt.Sprintf("%d–%d", r.GetFirst(), r.GetLast()))
		}
	}
	return strings.Join(text, ", ")
}
