package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// outboxMessages bounds the outbox, so that a flood fills it.
const outboxMessages = "600"

// TestNothingWithAReceiptIsLost does to a sidecar what can be done to one, for CHAOS_ROUNDS rounds that CHAOS_SEED decides, while
// apps send and receive. Then it balances the ledger.
func TestNothingWithAReceiptIsLost(t *testing.T) {
	seed, rounds := fromEnv(t, "CHAOS_SEED", rand.Uint64()), fromEnv(t, "CHAOS_ROUNDS", 200)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the same decisions again: CHAOS_SEED=%d CHAOS_ROUNDS=%d go test ./test/chaos -run '^%s$'", seed, rounds, t.Name())
		}
	})
	w := newWorld(t, seed)
	began := time.Now()
	for _, r := range plan(seed, int(rounds)) {
		w.do(r)
		rest(t.Context(), r.pause)
	}
	w.quiet()
	harness.Eventually(t, "an empty inbox", func() bool {
		r, err := w.messages.ListInboxes(harness.Within(t), &pb.ListInboxesRequest{})
		return err == nil && len(r.Inboxes) == 1 && r.Inboxes[0].Messages == 0
	})
	w.collect()
	summary, wrong := w.ledger.judge()
	t.Logf("the ledger of %d rounds in %v, CHAOS_SEED=%d:%s", rounds, time.Since(began).Round(time.Second), seed, summary)
	for i, what := range wrong {
		if i == 20 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(what)
	}
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
