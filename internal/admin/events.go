package admin

import (
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

var (
	events         = describe("events_total", "Events that happened, by kind.", "kind")
	eventsUnstored = describe("events_unstored_total", "Events that were shown and could not be written to the journal.")
	eventsDropped  = describe("events_dropped_total", "Events that were neither shown nor written, because the disk did not keep up.")
	eventGaps      = describe("event_gaps_total", "How often a reader of events was told that some are missing.")
	eventsPending  = describe("events_pending", "Events that wait for the disk.")

	journalEvents = describe("journal_events", "Events that the journal holds.")
	journalBytes  = describe("journal_bytes", "Bytes of these.")
	journalFirst  = describe("journal_first_sequence", "Number of the oldest event that the journal holds; 0 when it is empty.")
	journalLast   = describe("journal_last_sequence", "Number of the newest event that the journal holds; 0 when it is empty.")

	storeSync     = describe("store_sync_duration_seconds", "How long transactions of the database took until they were on disk.")
	storeTogether = describe("store_sync_changes",
		"Messages that were put or taken away by one transaction, of all callers that shared it.")
	storeFailures = describe("store_failures_total", "Transactions of the database that could not be written.")
	storeBytes    = describe("store_size_bytes", "Size of the database's file.")
)

// kindNames are the kinds of events that are published, as `linkkit-sidecar events --kind` has them.
var kindNames = map[event.Kind]string{
	event.KindConnecting:          "connecting",
	event.KindOnline:              "online",
	event.KindRefused:             "refused",
	event.KindAttemptFailed:       "attempt_failed",
	event.KindLost:                "lost",
	event.KindDisconnected:        "disconnected",
	event.KindRegistered:          "registered",
	event.KindRegistrationFailed:  "registration_failed",
	event.KindSubscriptionRefused: "subscription_refused",
	event.KindTakeoverSuspected:   "takeover_suspected",
	event.KindMessagesDropped:     "messages_dropped",
	event.KindWarning:             "warning",
	event.KindForgotten:           "forgotten",
	event.KindStoredEnded:         "stored_ended",
}

func (s sink) events(f event.Figures, d store.Figures) {
	for kind, name := range kindNames {
		s.counter(events, f.Published[kind], name)
	}
	s.counter(eventsUnstored, f.Unstored)
	s.counter(eventsDropped, f.Dropped)
	s.counter(eventGaps, f.Gaps)
	s.gauge(eventsPending, float64(f.Pending))
	s.gauge(journalEvents, float64(d.Events))
	s.gauge(journalBytes, float64(d.EventBytes))
	s.gauge(journalFirst, float64(d.OldestSequence))
	s.gauge(journalLast, float64(d.LastSequence))
}

func (s sink) database(d store.Figures) {
	s.histogram(storeSync, d.SyncSeconds)
	s.histogram(storeTogether, d.SyncChanges)
	s.counter(storeFailures, d.Failures)
	s.gauge(storeBytes, float64(d.Bytes))
}
