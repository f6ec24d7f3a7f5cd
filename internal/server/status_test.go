package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// answers are one error of each sort.
func answers() []error {
	all := []error{
		&overLimit{caller: Caller{Kind: TokenCaller}, limit: "n", wait: time.Second},
		&notPermitted{caller: Caller{Kind: TokenCaller}, operation: "Connect", device: dev1},
		&platform.FieldError{Field: "mqtt.keep_alive", Problem: "must be more"},
		&platform.RegistrationRefusedError{Code: 6288, Message: "off"},
		errOdd,
	}
	for _, row := range table {
		all = append(all, row.err)
	}
	for cause := event.CauseNone + 1; cause.String() != "unknown cause"; cause++ {
		all = append(all, &conn.Failure{Cause: cause, Detail: "why"})
	}
	return all
}

func TestEveryReasonOfTheContractCanBeGiven(t *testing.T) {
	given := map[string]bool{}
	for _, err := range answers() {
		_, reason := toStatus(err)
		given[reason] = true
	}
	for number, name := range pb.ErrorReason_name {
		if reason := strings.TrimPrefix(name, "ERROR_REASON_"); number != 0 && !given[reason] {
			t.Errorf("nothing gives %s", reason)
		}
	}
}

// The comment of each reason in the contract begins with its code.
func TestEveryReasonComesWithTheCodeThatTheContractNames(t *testing.T) {
	documented := map[string]string{}
	file, err := parser.ParseFile(token.NewFileSet(), "../../gen/linkkit_sidecar/v1/error_reason.pb.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Doc == nil {
			return true
		}
		if _, reason, found := strings.Cut(spec.Names[0].Name, "ErrorReason_ERROR_REASON_"); found {
			documented[reason], _, _ = strings.Cut(spec.Doc.Text(), ":")
		}
		return true
	})
	if len(documented) != len(pb.ErrorReason_name) {
		t.Fatalf("%d reasons are documented of %d", len(documented), len(pb.ErrorReason_name))
	}
	for _, err := range answers() {
		s, reason := toStatus(err)
		if documented[reason] != s.Code().String() {
			t.Errorf("%v: %s comes with %v, and the contract says %s", err, reason, s.Code(), documented[reason])
		}
	}
}

func TestEveryErrorOfTheRoomsBelowHasARow(t *testing.T) {
	rows := len(table)
	names := 0
	for _, file := range []string{"../conn/errors.go", "../outbox/outbox.go", "../inbox/shelf.go"} {
		read, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name := range read.Scope.Objects {
			if strings.HasPrefix(name, "Err") {
				names++
			}
		}
	}
	ours := 0
	for _, row := range table {
		for _, other := range []error{event.ErrClosed, statedir.ErrDiskFull, device.ErrInvalidID, credential.ErrInvalid, errCallerUnknown, errPanicked, errDuplicateID} {
			if row.err == other { //nolint:errorlint // the very same, not one that has it in its chain
				ours++
			}
		}
	}
	if names == 0 || rows-ours != names {
		t.Errorf("there are %d named errors, and %d have a row", names, rows-ours)
	}
	for cause := event.CauseNone + 1; cause.String() != "unknown cause"; cause++ {
		if _, known := failures[cause]; !known {
			t.Errorf("a failure with cause %q has no row", cause)
		}
	}
}

func TestWhatIsWrappedIsFoundWhereItCounts(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
	}{
		// A full disk is one wherever it shows.
		{&conn.Failure{Cause: event.CauseStorage, Err: fmt.Errorf("x: %w", statedir.ErrDiskFull)}, "STORAGE_FULL"},
		{&conn.Failure{Cause: event.CauseNoCredential}, "NO_CREDENTIAL"},
		// The timeout of an attempt is not the deadline of the call.
		{&conn.Failure{Cause: event.CauseDialTimeout, Err: context.DeadlineExceeded}, "DIAL_TIMEOUT"},
		{fmt.Errorf("%w: %w", conn.ErrShuttingDown, &conn.Failure{Cause: event.CauseNetwork}), "SHUTTING_DOWN"},
		{&conn.Failure{Cause: event.CauseTakeoverSuspected, Err: &conn.Failure{Cause: event.CauseClosedByServer}}, "NOT_ONLINE"},
		{fmt.Errorf("%w: %w", conn.ErrStorage, credential.ErrInvalid), "STORAGE_FAILED"},
		{about(dev1, fmt.Errorf("x: %w", conn.ErrSettingsConflict)), "SETTINGS_CONFLICT"},
		{context.Canceled, ""},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), ""},
		{status.Error(codes.Unavailable, "gRPC's own"), ""},
		{about(dev1, status.Error(codes.Canceled, "gRPC's own, of a stream that the caller left")), ""},
	} {
		if _, reason := toStatus(c.err); reason != c.reason {
			t.Errorf("%v: %q, want %q", c.err, reason, c.reason)
		}
	}
}

func TestARefusalSaysWhatHappenedWhatItMeansAndWhatToDo(t *testing.T) {
	next := time.Now().Add(time.Minute)
	s, _ := toStatus(about(dev1, &conn.Failure{Cause: event.CauseConnackBadCredentials, Code: 4, Detail: "the platform refused", NextAttempt: next}))
	r := refused(t, s.Err(), codes.FailedPrecondition, "REFUSED_BAD_CREDENTIALS")
	want := platform.Connack(4, false)
	if r.metadata["device"] != dev1.String() || r.metadata["connack_code"] != "4" || r.metadata["cause"] != "CONNACK_BAD_CREDENTIALS" ||
		r.metadata["meaning"] != want.Meaning || r.metadata["advice"] != want.Advice || r.metadata["next_attempt_time"] == "" {
		t.Errorf("%v", r.metadata)
	}
	if !strings.Contains(r.message, dev1.String()) || r.retry < 50*time.Second || r.retry > time.Minute {
		t.Errorf("%+v", r)
	}
	s, _ = toStatus(&conn.Failure{Cause: event.CauseConnackBadCredentials, Code: 4, Registering: true})
	if r := refusalOf(t, s.Err()); r.metadata["advice"] != platform.Connack(4, true).Advice || r.retry != 0 {
		t.Errorf("%+v", r)
	}
	s, _ = toStatus(&platform.RegistrationRefusedError{Code: 6288, Message: "off"})
	if r := refusalOf(t, s.Err()); r.metadata["registration_code"] != "6288" || !strings.Contains(r.metadata["advice"], "console") {
		t.Errorf("%+v", r)
	}
}

func TestWhatGoesAwayByItselfSaysWhen(t *testing.T) {
	for _, err := range answers() {
		s, reason := toStatus(err)
		if retry := refusalOf(t, s.Err()).retry; s.Code() == codes.Unavailable && retry <= 0 {
			t.Errorf("%s does not say when to try again", reason)
		} else if s.Code() == codes.FailedPrecondition && retry > 0 {
			t.Errorf("%s says when to try again", reason)
		}
	}
}

func TestWrongFieldsAreNamed(t *testing.T) {
	for field, err := range map[string]error{
		"endpoint.host": about(dev1, &platform.FieldError{Field: "endpoint.host", Problem: "is an IP"}),
		"device":        device.ID{ProductKey: "a|b"}.Validate(),
		"credential":    credential.Credential{}.Validate(),
	} {
		s, _ := toStatus(err)
		if r := refused(t, s.Err(), codes.InvalidArgument, "INVALID_REQUEST"); r.fields[field] == "" || len(r.fields) != 1 {
			t.Errorf("%v: %v", err, r.fields)
		}
	}
}

// What the sidecar counts with and what it sends are the same numbers.
func TestNumbersAreThoseOfTheContract(t *testing.T) {
	for _, c := range []struct {
		contract protoreflect.EnumDescriptor
		names    []string // ours, by number from 1, as the contract names them
	}{
		{pb.Cause(0).Descriptor(), causeNamesFromSource(t)},
		{pb.LinkState(0).Descriptor(), []string{"IDLE", "CONNECTING", "ONLINE", "WAITING", "REJECTED"}},
		{pb.WarningCode(0).Descriptor(), []string{"ROOT_EXPIRES", "HOSTNAME_NOT_VERIFIED", "PLAIN_TCP", "STATE_SET_ASIDE"}},
		{pb.DropReason(0).Descriptor(), []string{"UNCLAIMED", "SLOW_READER", "INBOX_FULL", "DEAD_LETTER", "BY_CONSUMER", "INBOX_STORAGE"}},
		{pb.RegistrationMethod(0).Descriptor(), []string{platform.PreRegistered.String(), platform.RegistrationFree.String(), platform.HTTPSLegacy.String()}},
	} {
		if c.contract.Values().Len() != len(c.names)+1 {
			t.Errorf("%s has %d values in the contract and %d here", c.contract.Name(), c.contract.Values().Len()-1, len(c.names))
		}
		for i, name := range c.names {
			value := c.contract.Values().ByNumber(protoreflect.EnumNumber(i + 1))
			if value == nil || !strings.HasSuffix(string(value.Name()), "_"+name) {
				t.Errorf("%s %d is %s here, and in the contract %v", c.contract.Name(), i+1, name, value)
			}
		}
	}
	// The lists above are as long as the constants that they stand for.
	if event.Rejected.String() != "rejected" || int(event.Rejected) != 5 || event.State(6).String() != "unknown" || event.WarnStateSetAside != 4 || event.DropUnclaimed != 1 {
		t.Error("the states, warnings or drop reasons are not as listed")
	}
	for number, want := range map[pb.LinkState]event.State{1: event.Idle, 2: event.Connecting, 3: event.Online, 4: event.Waiting, 5: event.Rejected} {
		if event.State(number) != want {
			t.Errorf("%v is %v", number, want)
		}
	}
	for number, want := range map[pb.WarningCode]event.WarningCode{
		pb.WarningCode_WARNING_CODE_ROOT_EXPIRES:          event.WarnRootExpires,
		pb.WarningCode_WARNING_CODE_HOSTNAME_NOT_VERIFIED: event.WarnHostnameNotVerified,
		pb.WarningCode_WARNING_CODE_PLAIN_TCP:             event.WarnPlainTCP,
		pb.WarningCode_WARNING_CODE_STATE_SET_ASIDE:       event.WarnStateSetAside,
	} {
		if event.WarningCode(number) != want {
			t.Errorf("%v is %d", number, want)
		}
	}
}

// causeNamesFromSource are the constants of event.Cause in their order, as the contract would write them.
func causeNamesFromSource(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../event/cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Cause") || spec.Names[0].Name == "CauseNone" {
			return true
		}
		names = append(names, upperSnake(strings.TrimPrefix(spec.Names[0].Name, "Cause")))
		return true
	})
	if len(names) == 0 {
		t.Fatal(errors.New("no causes found"))
	}
	return names
}

// upperSnake writes "TLSNameMismatch" as "TLS_NAME_MISMATCH".
func upperSnake(s string) string {
	var b strings.Builder
	for i, r := range s {
		isUpper := func(j int) bool { return j < len(s) && s[j] >= 'A' && s[j] <= 'Z' }
		if i > 0 && isUpper(i) && (!isUpper(i-1) || (i+1 < len(s) && !isUpper(i+1))) {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
