package server

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// timestamp is absent for a time that is not known.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// deviceTo is absent when no device is concerned.
func deviceTo(id device.ID) *pb.Device {
	if id.IsZero() {
		return nil
	}
	return &pb.Device{ProductKey: id.ProductKey, DeviceName: id.DeviceName}
}

var credentialKinds = map[credential.Kind]pb.CredentialKind{
	credential.DeviceSecret: pb.CredentialKind_CREDENTIAL_KIND_DEVICE_SECRET,
	credential.DeviceToken:  pb.CredentialKind_CREDENTIAL_KIND_DEVICE_TOKEN,
	credential.MQTT:         pb.CredentialKind_CREDENTIAL_KIND_MQTT,
}

func credentialInfoTo(c event.CredentialInfo) *pb.CredentialInfo {
	return &pb.CredentialInfo{
		Kind: credentialKinds[credential.Kind(c.Kind)], Fingerprint: c.Fingerprint, Source: c.Source, StoredTime: timestamp(c.StoredAt),
	}
}

func statusTo(s event.Status) *pb.DeviceStatus {
	to := &pb.DeviceStatus{
		Device:                  deviceTo(s.Device),
		State:                   pb.LinkState(s.State),
		StateTime:               timestamp(s.StateTime),
		Wanted:                  s.Wanted,
		Endpoint:                s.Endpoint,
		Attempt:                 uint32(s.Attempt),
		NextAttemptTime:         timestamp(s.NextAttempt),
		LastCause:               pb.Cause(s.LastCause),
		LastDetail:              s.LastDetail,
		LastCauseTime:           timestamp(s.LastCauseTime),
		SessionPresent:          s.SessionPresent,
		TakeoverSuspected:       s.TakeoverSuspected,
		RegistrationInterrupted: s.RegistrationInterrupted,
		Counters: &pb.DeviceCounters{
			Attempts: s.Counters.Attempts, Connects: s.Counters.Connects, Refusals: s.Counters.Refusals, Losses: s.Counters.Losses,
			MessagesUnclaimed: s.Counters.Unclaimed, BytesReceived: s.Counters.BytesReceived, BytesSent: s.Counters.BytesSent,
		},
	}
	c := to.GetCounters()
	c.MessagesSent, c.MessagesUnknown, c.MessagesReceived = s.Counters.MessagesSent, s.Counters.MessagesUnknown, s.Counters.MessagesReceived
	c.MessagesStored, c.StoredSent, c.StoredExpired = s.Counters.Stored, s.Counters.StoredSent, s.Counters.StoredExpired
	c.StoredDropped, c.StoredRefused, c.DroppedSlowReader = s.Counters.StoredDropped, s.Counters.StoredRefused, s.Counters.SlowReader
	c.DroppedInboxFull, c.DroppedInboxStorage = s.Counters.InboxFull, s.Counters.InboxStorage
	c.DeadLetters, c.DroppedByConsumer = s.Counters.DeadLetters, s.Counters.ByConsumer
	to.Queue = &pb.QueueStatus{
		Waiting: uint64(s.Queue.Waiting), InFlight: uint64(s.Queue.InFlight),
		StoredMessages: uint64(s.Queue.StoredMessages), StoredBytes: uint64(s.Queue.StoredBytes), OldestStoredTime: timestamp(s.Queue.OldestStored),
		MaxMessagesPerSecond: s.Queue.MessagesPerSecond, MaxBytesPerSecond: s.Queue.BytesPerSecond, Shaped: s.Queue.Shaped,
	}
	if s.Credential != nil {
		to.Credential = credentialInfoTo(*s.Credential)
	}
	return to
}

var endReasons = map[event.EndReason]pb.ErrorReason{
	event.EndExpired:    pb.ErrorReason_ERROR_REASON_MESSAGE_EXPIRED,
	event.EndMadeRoom:   pb.ErrorReason_ERROR_REASON_OUTBOX_FULL,
	event.EndForgotten:  pb.ErrorReason_ERROR_REASON_DEVICE_UNKNOWN,
	event.EndUnreadable: pb.ErrorReason_ERROR_REASON_STORAGE_FAILED,
}

func storedEndedTo(e event.StoredEnded) *pb.StoredEnded {
	to := &pb.StoredEnded{Outcome: pb.Outcome(e.Outcome), Reason: endReasons[e.Reason], Count: e.Count}
	for _, r := range e.Ranges {
		to.Ranges = append(to.Ranges, &pb.SequenceRange{First: r.First, Last: r.Last})
	}
	return to
}

func registerResponseTo(id device.ID, c credential.Credential, reveal bool) *pb.RegisterResponse {
	to := &pb.RegisterResponse{
		Device: deviceTo(id),
		Credential: credentialInfoTo(event.CredentialInfo{
			Kind: string(c.Kind), Fingerprint: c.Fingerprint(), Source: c.Source, StoredAt: c.StoredAt,
		}),
	}
	switch {
	case !reveal:
	case c.Kind == credential.DeviceSecret:
		to.DeviceSecret = c.Secret.Reveal()
	case c.Kind == credential.DeviceToken:
		to.DeviceToken = &pb.DeviceToken{ClientId: c.ClientID, Token: c.Secret.Reveal()}
	}
	return to
}

func entryTo(e event.Entry) *pb.EventsResponse {
	to := &pb.EventsResponse{
		Cursor: &pb.Cursor{Epoch: e.Cursor.Epoch, Sequence: e.Cursor.Sequence},
		Time:   timestamp(e.Event.Time),
		Device: deviceTo(e.Event.Device),
	}
	switch b := e.Event.Body.(type) {
	case event.Snapshot:
		to.Event = &pb.EventsResponse_Snapshot{Snapshot: snapshotTo(b)}
	case event.Attempting:
		to.Event = &pb.EventsResponse_Connecting{Connecting: &pb.Connecting{Attempt: uint32(b.Attempt), Endpoint: b.Endpoint}}
	case event.WentOnline:
		to.Event = &pb.EventsResponse_Online{Online: &pb.Online{
			SessionPresent: b.SessionPresent, ConnackTime: timestamp(b.ConnackTime), Endpoint: b.Endpoint, Attempt: uint32(b.Attempt),
		}}
	case event.Refused:
		to.Event = &pb.EventsResponse_Refused{Refused: &pb.Refused{
			Code: uint32(b.Code), Cause: pb.Cause(event.CauseOfConnack(b.Code)), Meaning: b.Meaning, Advice: b.Advice,
			WillRetry: b.WillRetry, NextAttemptTime: timestamp(b.NextAttempt),
		}}
	case event.AttemptFailed:
		to.Event = &pb.EventsResponse_AttemptFailed{AttemptFailed: &pb.AttemptFailed{
			Cause: pb.Cause(b.Cause), Detail: b.Detail, NextAttemptTime: timestamp(b.NextAttempt), Attempt: uint32(b.Attempt),
		}}
	case event.Lost:
		to.Event = &pb.EventsResponse_Lost{Lost: &pb.Lost{
			Cause: pb.Cause(b.Cause), Detail: b.Detail, NextAttemptTime: timestamp(b.NextAttempt),
			HeldMs: uint64(max(0, b.Held.Milliseconds())),
		}}
	case event.Disconnected:
		to.Event = &pb.EventsResponse_Disconnected{Disconnected: &pb.Disconnected{Cause: pb.Cause(b.Cause)}}
	case event.Registered:
		to.Event = &pb.EventsResponse_Registered{Registered: &pb.Registered{Method: b.Method, Credential: credentialInfoTo(b.Credential)}}
	case event.RegistrationFailed:
		to.Event = &pb.EventsResponse_RegistrationFailed{RegistrationFailed: &pb.RegistrationFailed{
			Method: b.Method, Cause: pb.Cause(b.Cause), Detail: b.Detail, Code: uint32(b.Code), Interrupted: b.Interrupted,
		}}
	case event.SubscriptionRefused:
		to.Event = &pb.EventsResponse_SubscriptionRefused{SubscriptionRefused: &pb.SubscriptionRefused{Filter: b.Filter}}
	case event.TakeoverSuspected:
		to.Event = &pb.EventsResponse_TakeoverSuspected{TakeoverSuspected: &pb.TakeoverSuspected{
			Losses: uint32(b.Losses), NextAttemptTime: timestamp(b.NextAttempt),
		}}
	case event.MessagesDropped:
		to.Event = &pb.EventsResponse_MessagesDropped{MessagesDropped: &pb.MessagesDropped{
			Count: b.Count, Reason: pb.DropReason(b.Reason), Topic: b.Topic,
		}}
	case event.StoredEnded:
		to.Event = &pb.EventsResponse_StoredEnded{StoredEnded: storedEndedTo(b)}
	case event.Warning:
		to.Event = &pb.EventsResponse_Warning{Warning: &pb.Warning{Code: pb.WarningCode(b.Code), Detail: b.Detail}}
	case event.Forgotten:
		to.Event = &pb.EventsResponse_Forgotten{Forgotten: &pb.Forgotten{}}
	case event.Gap:
		to.Event = &pb.EventsResponse_EventsLost{EventsLost: &pb.EventsLost{Count: b.Count, Detail: b.Detail}}
	}
	return to
}

func snapshotTo(s event.Snapshot) *pb.StateSnapshot {
	to := &pb.StateSnapshot{More: s.More}
	for _, status := range s.Statuses {
		to.Devices = append(to.Devices, statusTo(status))
	}
	return to
}
