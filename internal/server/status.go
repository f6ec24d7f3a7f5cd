package server

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

const (
	errorDomain   = "linkkit-sidecar"
	reasonTrailer = "linkkit-reason"
)

var (
	errCallerUnknown = errors.New(`who calls is not known: send the token as metadata, "authorization: Bearer TOKEN"`)
	errPanicked      = errors.New("a fault of the sidecar itself ended the call: its log has more, please report it")
)

// verdict is how an error is told: the code says what the app should do next, the reason what happened. With retry the error
// goes away by itself, so that asking again after that time makes sense.
type verdict struct {
	code   codes.Code
	reason pb.ErrorReason
	retry  time.Duration
}

// table is how errors with a name are told. The first that is in the chain counts.
var table = []struct {
	err error
	verdict
}{
	{event.ErrClosed, verdict{codes.Unavailable, pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN, time.Second}},
	{conn.ErrShuttingDown, verdict{codes.Unavailable, pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN, time.Second}},
	{statedir.ErrDiskFull, verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_STORAGE_FULL, 0}},
	{conn.ErrStorage, verdict{codes.Internal, pb.ErrorReason_ERROR_REASON_STORAGE_FAILED, 0}},
	{conn.ErrUnknownDevice, verdict{codes.NotFound, pb.ErrorReason_ERROR_REASON_DEVICE_UNKNOWN, 0}},
	{conn.ErrAmbiguousDevice, verdict{codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_DEVICE_AMBIGUOUS, 0}},
	{conn.ErrSettingsConflict, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_SETTINGS_CONFLICT, 0}},
	{conn.ErrNoCredential, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_NO_CREDENTIAL, 0}},
	{conn.ErrCredentialExists, verdict{codes.AlreadyExists, pb.ErrorReason_ERROR_REASON_CREDENTIAL_EXISTS, 0}},
	{conn.ErrRegistrationInProgress, verdict{codes.Aborted, pb.ErrorReason_ERROR_REASON_REGISTRATION_IN_PROGRESS, time.Second}},
	{conn.ErrStillConnected, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_STILL_CONNECTED, 0}},
	{conn.ErrSuperseded, verdict{codes.Aborted, pb.ErrorReason_ERROR_REASON_SUPERSEDED, 0}},
	{conn.ErrRegistrationReply, verdict{codes.Internal, pb.ErrorReason_ERROR_REASON_REGISTRATION_REPLY_INVALID, 0}},
	{conn.ErrRegistrationNoReply, verdict{codes.Unavailable, pb.ErrorReason_ERROR_REASON_REGISTRATION_NO_REPLY, 5 * time.Second}},
	{conn.ErrUnacknowledged, verdict{codes.Unavailable, pb.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, time.Second}},
	{conn.ErrNotOnline, verdict{codes.Unavailable, pb.ErrorReason_ERROR_REASON_NOT_ONLINE, time.Second}},
	{conn.ErrQueueFull, verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_QUEUE_FULL, time.Second}},
	{conn.ErrFilterRefused, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_SUBSCRIPTION_REFUSED, 0}},
	{conn.ErrTooManyFilters, verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_TOO_MANY_SUBSCRIPTIONS, 0}},
	{outbox.ErrFull, verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_OUTBOX_FULL, time.Second}},
	{outbox.ErrKeyConflict, verdict{codes.AlreadyExists, pb.ErrorReason_ERROR_REASON_KEY_CONFLICT, 0}},
	{outbox.ErrExpired, verdict{codes.DeadlineExceeded, pb.ErrorReason_ERROR_REASON_MESSAGE_EXPIRED, 0}},
	{outbox.ErrForgotten, verdict{codes.NotFound, pb.ErrorReason_ERROR_REASON_DEVICE_UNKNOWN, 0}},
	{outbox.ErrUnreadable, verdict{codes.Internal, pb.ErrorReason_ERROR_REASON_STORAGE_FAILED, 0}},
	{inbox.ErrUnknown, verdict{codes.NotFound, pb.ErrorReason_ERROR_REASON_INBOX_UNKNOWN, 0}},
	{inbox.ErrConflict, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_INBOX_CONFLICT, 0}},
	{inbox.ErrNotEmpty, verdict{codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_INBOX_NOT_EMPTY, 0}},
	{inbox.ErrTooMany, verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_TOO_MANY_INBOXES, 0}},
	{conn.ErrCallUnknown, verdict{codes.NotFound, pb.ErrorReason_ERROR_REASON_CALL_UNKNOWN, 0}},
	{conn.ErrCallAnswered, verdict{codes.AlreadyExists, pb.ErrorReason_ERROR_REASON_CALL_ANSWERED, 0}},
	{conn.ErrCallExpired, verdict{codes.DeadlineExceeded, pb.ErrorReason_ERROR_REASON_CALL_EXPIRED, 0}},
	{errDuplicateID, verdict{codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_DUPLICATE_ID, 0}},
	{device.ErrInvalidID, verdict{codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID_REQUEST, 0}},
	{credential.ErrInvalid, verdict{codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID_REQUEST, 0}},
	{errCallerUnknown, verdict{codes.Unauthenticated, pb.ErrorReason_ERROR_REASON_CALLER_UNKNOWN, 0}},
	{errPanicked, verdict{codes.Internal, pb.ErrorReason_ERROR_REASON_INTERNAL, 0}},
}

// failures is how a *conn.Failure is told, by its cause. The time of the next attempt takes the place of retry where it is known.
var failures = map[event.Cause]verdict{
	event.CauseDNS:                      {codes.Unavailable, pb.ErrorReason_ERROR_REASON_DNS_FAILED, 5 * time.Second},
	event.CauseDialRefused:              {codes.Unavailable, pb.ErrorReason_ERROR_REASON_DIAL_REFUSED, 5 * time.Second},
	event.CauseDialTimeout:              {codes.Unavailable, pb.ErrorReason_ERROR_REASON_DIAL_TIMEOUT, 5 * time.Second},
	event.CauseTLSUntrusted:             {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_TLS_UNTRUSTED, 0},
	event.CauseTLSNameMismatch:          {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_TLS_NAME_MISMATCH, 0},
	event.CauseTLSExpired:               {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_TLS_EXPIRED, 0},
	event.CauseTLSOther:                 {codes.Unavailable, pb.ErrorReason_ERROR_REASON_TLS_FAILED, 5 * time.Second},
	event.CauseConnackProtocolVersion:   {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REFUSED_PROTOCOL_VERSION, 0},
	event.CauseConnackIdentifier:        {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REFUSED_IDENTIFIER, 0},
	event.CauseConnackServerUnavailable: {codes.Unavailable, pb.ErrorReason_ERROR_REASON_REFUSED_SERVER_UNAVAILABLE, 15 * time.Second},
	event.CauseConnackBadCredentials:    {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REFUSED_BAD_CREDENTIALS, 0},
	event.CauseConnackNotAuthorized:     {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REFUSED_NOT_AUTHORIZED, 0},
	event.CauseConnackOther:             {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REFUSED_OTHER, 0},
	event.CauseConnackTimeout:           {codes.Unavailable, pb.ErrorReason_ERROR_REASON_CONNACK_TIMEOUT, 5 * time.Second},
	event.CauseProtocolViolation:        {codes.Unavailable, pb.ErrorReason_ERROR_REASON_PROTOCOL_VIOLATION, 5 * time.Second},
	event.CauseKeepaliveTimeout:         {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NETWORK_FAILED, 5 * time.Second},
	event.CauseWriteTimeout:             {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NETWORK_FAILED, 5 * time.Second},
	event.CauseClosedByServer:           {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NOT_ONLINE, 5 * time.Second},
	event.CauseTakeoverSuspected:        {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NOT_ONLINE, 5 * time.Second},
	event.CauseNetwork:                  {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NETWORK_FAILED, 5 * time.Second},
	event.CauseRequested:                {codes.Aborted, pb.ErrorReason_ERROR_REASON_SUPERSEDED, 0},
	event.CauseShutdown:                 {codes.Unavailable, pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN, time.Second},
	event.CauseNoCredential:             {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_NO_CREDENTIAL, 0},
	event.CauseStorage:                  {codes.Internal, pb.ErrorReason_ERROR_REASON_STORAGE_FAILED, 0},
	event.CauseRegistrationRefused:      {codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_REGISTRATION_REFUSED, 0},
	event.CauseAckTimeout:               {codes.Unavailable, pb.ErrorReason_ERROR_REASON_NETWORK_FAILED, 5 * time.Second},
	event.CauseRegistrationNoReply:      {codes.Unavailable, pb.ErrorReason_ERROR_REASON_REGISTRATION_NO_REPLY, 5 * time.Second},
}

// deviceError says which device an error is about.
type deviceError struct {
	id  device.ID
	err error
}

func (e *deviceError) Error() string { return e.id.String() + ": " + e.err.Error() }
func (e *deviceError) Unwrap() error { return e.err }

func about(id device.ID, err error) error { return &deviceError{id, err} }

// grpcError is an error that gRPC made.
type grpcError interface {
	error
	GRPCStatus() *status.Status
}

// toStatus is the only place where an error becomes a gRPC status. The reason is "" where gRPC's own code says all there is to
// say: the caller left, or its deadline passed. Errors that gRPC itself made, as when a stream ends, are returned as they are.
func toStatus(err error) (s *status.Status, reason string) {
	if made, ok := errors.AsType[grpcError](err); ok {
		return made.GRPCStatus(), ""
	}
	v, known := judge(err)
	if !known {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return status.New(codes.DeadlineExceeded, "the call's deadline passed before there was an outcome"), ""
		case errors.Is(err, context.Canceled):
			return status.New(codes.Canceled, "the caller left before there was an outcome"), ""
		}
		// Not told to the caller: nobody has thought about what it may hold.
		v, err = verdict{code: codes.Internal, reason: pb.ErrorReason_ERROR_REASON_INTERNAL}, errPanicked
	}
	if fields := fieldsOf(err); v.reason == pb.ErrorReason_ERROR_REASON_INVALID_REQUEST {
		return compose(v, err.Error(), metadataOf(err), &errdetails.BadRequest{FieldViolations: fields})
	}
	return compose(v, err.Error(), metadataOf(err))
}

// judge finds how an error is told. It reports false for one that nobody has foreseen, and for those of contexts: these come
// last, since a failure to dial may have one in its chain.
func judge(err error) (verdict, bool) {
	for _, row := range table {
		if errors.Is(err, row.err) {
			return row.verdict, true
		}
	}
	if f, ok := errors.AsType[*conn.Failure](err); ok {
		v, known := failures[f.Cause]
		if !f.NextAttempt.IsZero() {
			v.retry = max(time.Until(f.NextAttempt), time.Millisecond)
		}
		return v, known
	}
	if over, ok := errors.AsType[*overLimit](err); ok {
		return verdict{codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_CALLER_LIMIT, over.wait}, true
	}
	if _, ok := errors.AsType[*notPermitted](err); ok {
		return verdict{code: codes.PermissionDenied, reason: pb.ErrorReason_ERROR_REASON_CALLER_NOT_PERMITTED}, true
	}
	if _, ok := errors.AsType[*platform.RegistrationRefusedError](err); ok {
		return verdict{code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_REGISTRATION_REFUSED}, true
	}
	if _, ok := errors.AsType[*unknownServiceError](err); ok {
		return verdict{code: codes.NotFound, reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST}, true
	}
	if _, ok := errors.AsType[*platform.FieldError](err); ok {
		return verdict{code: codes.InvalidArgument, reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST}, true
	}
	if _, ok := errors.AsType[*invalidError](err); ok {
		return verdict{code: codes.InvalidArgument, reason: pb.ErrorReason_ERROR_REASON_INVALID_REQUEST}, true
	}
	return verdict{}, false
}

// maxTopicTold is more bytes than any topic of a device has.
const maxTopicTold = 300

func compose(v verdict, message string, metadata map[string]string, details ...protoadapt.MessageV1) (*status.Status, string) {
	reason := strings.TrimPrefix(v.reason.String(), "ERROR_REASON_")
	details = append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: metadata}}, details...)
	if v.retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(v.retry)})
	}
	s, err := status.New(v.code, message).WithDetails(details...)
	if err != nil {
		return status.New(v.code, message), reason // cannot be: it fails only for OK and for details that cannot be marshalled
	}
	return s, reason
}

// metadataOf is what programs may want to know of an error beyond its reason.
func metadataOf(err error) map[string]string {
	m := map[string]string{}
	if d, ok := errors.AsType[*deviceError](err); ok {
		m["device"] = d.id.String()
	}
	if f, ok := errors.AsType[*conn.Failure](err); ok {
		m["cause"] = strings.TrimPrefix(pb.Cause(f.Cause).String(), "CAUSE_")
		if f.Refused() {
			c := platform.Connack(f.Code, f.Registering)
			m["connack_code"], m["meaning"], m["advice"] = strconv.Itoa(int(f.Code)), c.Meaning, c.Advice
		}
		if !f.NextAttempt.IsZero() {
			m["next_attempt_time"] = f.NextAttempt.UTC().Format(time.RFC3339Nano)
		}
	}
	if r, ok := errors.AsType[*platform.RegistrationRefusedError](err); ok {
		m["registration_code"], m["advice"] = strconv.Itoa(r.Code), r.Advice()
	}
	if n, ok := errors.AsType[*notPermitted](err); ok {
		m["caller"], m["operation"] = n.caller.String(), n.operation
		if n.topic != "" {
			m["topic"] = strings.ToValidUTF8(n.topic[:min(len(n.topic), maxTopicTold)], "") // a trailer has little room
		}
	}
	if o, ok := errors.AsType[*overLimit](err); ok {
		m["caller"], m["limit"] = o.caller.String(), o.limit
	}
	return m
}

// fieldsOf are the fields that an error says are wrong.
func fieldsOf(err error) []*errdetails.BadRequest_FieldViolation {
	if invalid, ok := errors.AsType[*invalidError](err); ok {
		return invalid.violations
	}
	field, problem := "device", err.Error()
	if f, ok := errors.AsType[*platform.FieldError](err); ok {
		field, problem = f.Field, f.Problem
	} else if errors.Is(err, credential.ErrInvalid) {
		field = "credential"
	}
	return []*errdetails.BadRequest_FieldViolation{{Field: field, Description: problem}}
}
