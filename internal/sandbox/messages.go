package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const (
	// DefaultKeepMessages is how many messages of each device are kept.
	DefaultKeepMessages = 1000
	// MaxKeepMessages bounds that.
	MaxKeepMessages = 1_000_000
	// maxAnswer bounds an answer to ListMessages: gRPC's clients take 4 MiB unless they say otherwise.
	maxAnswer = 3 << 20
)

// query says which of a device's messages are wanted.
type query struct {
	after  uint64 // the number of the last one that is not wanted
	filter string // "": on any topic
	newest int    // how many of them at most; 0: all
}

// page is the part of a query's messages that fits into an answer.
type page struct {
	messages []*sandboxv1.PublishedMessage
	more     bool
}

// validateTopicFilter says by MQTT's rules what is wrong with a filter; "" for nothing. Whose topics it matches does not matter.
func validateTopicFilter(filter string) string {
	if len(filter) > maxString {
		return fmt.Sprintf("has %d bytes; MQTT permits %d", len(filter), maxString)
	}
	if !utf8.ValidString(filter) || strings.Contains(filter, "\x00") {
		return "must be UTF-8 without the character NUL"
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level != "+" && strings.Contains(level, "+"):
			return `holds a "+" that does not stand alone between slashes`
		case level == "#" && i < len(levels)-1, level != "#" && strings.Contains(level, "#"):
			return `holds a "#" that does not stand alone, behind the last slash`
		}
	}
	return ""
}

// find is the messages that q wants, oldest first, as many as fit into an answer. The cloud's lock must be held.
func (q query) find(messages *history[receipt], kept int) page {
	all := messages.last(kept)
	// The numbers have no gaps.
	if len(all) > 0 && q.after >= all[0].number {
		all = all[min(q.after-all[0].number+1, uint64(len(all))):]
	}
	wanted := func(r receipt) bool { return q.filter == "" || platform.MatchFilter(q.filter, r.topic) }
	if q.newest > 0 {
		all = all[q.begin(all, wanted):]
	}
	var found page
	size := 0
	for i := range all {
		if !wanted(all[i]) {
			continue
		}
		m := all[i].published()
		const overhead = 8 // of a message within the answer
		size += proto.Size(m) + overhead
		if size > maxAnswer && len(found.messages) > 0 {
			found.more = true
			break
		}
		found.messages = append(found.messages, m)
	}
	return found
}

// begin is where the newest q.newest wanted ones begin.
func (q query) begin(all []receipt, wanted func(receipt) bool) int {
	left := q.newest
	for i, r := range slices.Backward(all) {
		if !wanted(r) {
			continue
		}
		left--
		if left == 0 {
			return i
		}
	}
	return 0
}

func (r receipt) published() *sandboxv1.PublishedMessage {
	return &sandboxv1.PublishedMessage{
		ReceiveTime: timestamppb.New(r.received), Topic: r.topic, Payload: r.payload, Qos: uint32(r.qos),
		MessageId: uint32(r.id), Duplicate: r.duplicate, ConnectionId: r.link, LateCallAnswer: r.lateAnswer, Number: r.number,
	}
}
