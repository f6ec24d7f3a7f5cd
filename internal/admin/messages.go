package admin

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
)

var (
	messagesSent = describe("messages_sent_total",
		"Messages that the platform acknowledged or, at QoS 0, that were written to a link.")
	messagesUnknown = describe("messages_unknown_total",
		"Messages that were sent and not acknowledged before their link was lost. STORED ones are sent again.")
	messagesReceived = describe("messages_received_total", "Messages that came from the platform.")
	messagesDropped  = describe("messages_dropped_total",
		"Messages from the platform that were dropped, by reason: once for each reader or inbox that lost one.", "reason")
	inFlight = describe("messages_in_flight", "Messages that were sent and are not acknowledged yet.")
	waiting  = describe("messages_waiting", "CONFIRMED messages that wait for their turn.")
	publish  = describe("publish_duration_seconds",
		"Seconds since messages were accepted, at each stage: on_disk (STORED only), sent (each time), acknowledged (QoS 1 only).",
		"assurance", "stage")

	outboxMessages = describe("outbox_messages", "STORED messages that the platform does not have yet.")
	outboxBytes    = describe("outbox_bytes", "Bytes of these on disk.")
	outboxAge      = describe("outbox_oldest_age_seconds", "How long ago the oldest of these was accepted; 0 when there is none.")
	outboxFullest  = describe("outbox_fullest_ratio",
		"How much is used of what one device's outbox may hold, messages or bytes, of the device where it is most.")
	outboxStored  = describe("outbox_stored_total", "STORED messages that were accepted.")
	outboxRefused = describe("outbox_refused_total", "STORED messages that were not accepted because the device's outbox was full.")
	outboxEnded   = describe("outbox_ended_total", "STORED messages that ended, by outcome.", "outcome")

	inboxes       = describe("inboxes", "Inboxes, those of dead letters included.")
	inboxReaders  = describe("inbox_consumers", "Streams that consume an inbox.")
	inboxMessages = describe("inbox_messages", "Messages in inboxes, without dead letters.")
	inboxPending  = describe("inbox_pending_messages", "Of these, those that a consumer has and has not answered, or has put off.")
	inboxBytes    = describe("inbox_bytes", "Bytes of the messages in inboxes on disk, dead letters included.")
	inboxAge      = describe("inbox_oldest_age_seconds", "How long ago the oldest message of an inbox came, dead letters aside; 0 when there is none.")
	inboxFullest  = describe("inbox_fullest_ratio",
		"How much is used of what one inbox may hold, messages or bytes, of the inbox where it is most.")
	deadLetters  = describe("inbox_dead_letters", "Messages that were delivered too often and wait among the dead letters.")
	deliveries   = describe("inbox_deliveries_total", "Deliveries of messages to consumers, the first time and again.")
	redeliveries = describe("inbox_redeliveries_total", "Of these, those of messages that were delivered for nothing before.")
)

func (s sink) messages(f conn.Figures) {
	c := f.Counters
	s.counter(messagesSent, c.MessagesSent)
	s.counter(messagesUnknown, c.MessagesUnknown)
	s.counter(messagesReceived, c.MessagesReceived)
	for _, d := range []struct {
		reason string
		count  uint64
	}{
		{"unclaimed", c.Unclaimed},
		{"slow_reader", c.SlowReader},
		{"inbox_full", c.InboxFull},
		{"inbox_storage", c.InboxStorage},
		{"dead_letter", c.DeadLetters},
		{"by_consumer", c.ByConsumer},
	} {
		s.counter(messagesDropped, d.count, d.reason)
	}
	s.gauge(inFlight, float64(f.InFlight))
	s.gauge(waiting, float64(f.Waiting))
	for _, stage := range f.Publish {
		assurance := "confirmed"
		if stage.Stored {
			assurance = "stored"
		}
		s.histogram(publish, stage.Seconds, assurance, stage.Name)
	}
}

func (s sink) outboxes(f conn.Figures, now time.Time) {
	s.gauge(outboxMessages, float64(f.Outbox.Messages))
	s.gauge(outboxBytes, float64(f.Outbox.Bytes))
	s.gauge(outboxAge, age(f.Outbox.Oldest, now))
	s.gauge(outboxFullest, f.Outbox.Fullest)
	s.counter(outboxStored, f.Counters.Stored)
	s.counter(outboxRefused, f.Counters.StoredRefused)
	for how, count := range f.Outbox.Ended {
		s.counter(outboxEnded, count, how.String())
	}
}

func (s sink) inboxes(f inbox.Figures, now time.Time) {
	s.gauge(inboxes, float64(f.Boxes))
	s.gauge(inboxReaders, float64(f.Consumers))
	s.gauge(inboxMessages, float64(f.Messages))
	s.gauge(inboxPending, float64(f.Out))
	s.gauge(inboxBytes, float64(f.Bytes))
	s.gauge(inboxAge, age(f.Oldest, now))
	s.gauge(inboxFullest, f.Fullest)
	s.gauge(deadLetters, float64(f.DeadLetters))
	s.counter(deliveries, f.Delivered)
	s.counter(redeliveries, f.Redelivered)
}
