package metrics

import (
	"net/http"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func (w *world) scrape() *scrape {
	w.t.Helper()
	code, text := w.get("/metrics")
	if code != http.StatusOK {
		w.t.Fatalf("/metrics: %d %s", code, text)
	}
	return read(w.t, text)
}

// TestWhatHappensIsCounted looks at the page of a sidecar that has done a little of everything.
func TestWhatHappensIsCounted(t *testing.T) {
	w := start(t)
	w.busy()
	// Ends of STORED messages are told within a second.
	const ended = `linkkit_sidecar_outbox_ended_total{outcome="acknowledged"}`
	harness.Eventually(t, ended, func() bool { return w.scrape().samples[ended] == 1 })
	s := w.scrape()
	for sample, want := range map[string]float64{
		`linkkit_sidecar_devices{state="online"}`:                    1,
		`linkkit_sidecar_connects_total`:                             2,
		`linkkit_sidecar_refusals_total{code="4"}`:                   1,
		`linkkit_sidecar_losses_total{cause="closed_by_server"}`:     1,
		`linkkit_sidecar_time_to_online_seconds_count`:               2,
		`linkkit_sidecar_subscriptions{state="granted"}`:             1, // of the stream and the inbox together
		`linkkit_sidecar_messages_sent_total`:                        2,
		`linkkit_sidecar_messages_received_total`:                    1,
		`linkkit_sidecar_messages_dropped_total{reason="unclaimed"}`: 0,
		`linkkit_sidecar_outbox_stored_total`:                        1,
		`linkkit_sidecar_outbox_messages`:                            0,
		`linkkit_sidecar_inboxes`:                                    1,
		`linkkit_sidecar_inbox_messages`:                             1,
		`linkkit_sidecar_inbox_deliveries_total`:                     2,
		`linkkit_sidecar_inbox_redeliveries_total`:                   1,
		`linkkit_sidecar_events_total{kind="refused"}`:               1,
		`linkkit_sidecar_journal_first_sequence`:                     1,
		`linkkit_sidecar_events_unstored_total`:                      0,
		`linkkit_sidecar_store_failures_total`:                       0,

		`linkkit_sidecar_publish_duration_seconds_count{assurance="confirmed",stage="sent"}`:         1,
		`linkkit_sidecar_publish_duration_seconds_count{assurance="confirmed",stage="acknowledged"}`: 1,
		`linkkit_sidecar_publish_duration_seconds_count{assurance="stored",stage="on_disk"}`:         1,
		`linkkit_sidecar_publish_duration_seconds_count{assurance="stored",stage="sent"}`:            1,
		`linkkit_sidecar_publish_duration_seconds_count{assurance="stored",stage="acknowledged"}`:    1,
	} {
		if got, there := s.samples[sample]; !there || got != want {
			t.Errorf("%s is %v (there: %v), want %v", sample, got, there, want)
		}
	}
	for _, sample := range []string{
		`linkkit_sidecar_journal_last_sequence`, `linkkit_sidecar_store_sync_duration_seconds_count`, `linkkit_sidecar_store_sync_changes_sum`,
		`linkkit_sidecar_store_size_bytes`, `linkkit_sidecar_received_bytes_total`, `linkkit_sidecar_inbox_bytes`,
		`linkkit_sidecar_link_certificate_expiry_timestamp_seconds`, `linkkit_sidecar_link_root_expiry_timestamp_seconds`,
		`linkkit_sidecar_grpc_certificate_expiry_timestamp_seconds`,
		`linkkit_sidecar_trusted_root_expiry_timestamp_seconds{root="GlobalSign Root CA"}`,
	} {
		if s.samples[sample] <= 0 {
			t.Errorf("%s is %v", sample, s.samples[sample])
		}
	}
}
