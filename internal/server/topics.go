package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// What stands in a rule's topic for the names of the device in question. Names hold neither "/" nor wildcards, so what is put in a
// topic means there what it says.
const (
	productKeyHere = "{product_key}"
	deviceNameHere = "{device_name}"
)

// messageOperations are the rpcs that a rule's topics bound.
var messageOperations = slices.Concat(operations["publish"], operations["subscribe"], operations["answer"], []string{"Consume"})

// readTopics checks the topics of a rule: one that could never match would lock callers out without a word.
func readTopics(topics, operations []string) ([]string, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	if !slices.ContainsFunc(messageOperations, func(o string) bool { return slices.Contains(operations, o) }) {
		return nil, errors.New(`topics are for "publish", "subscribe", "consume" and "answer", and it permits none of them`)
	}
	for _, topic := range topics {
		rest := strings.NewReplacer(productKeyHere, "", deviceNameHere, "").Replace(topic)
		switch {
		case strings.IndexAny(topic, "/+#") != 0:
			return nil, fmt.Errorf(`topic %q must begin with "/": all topics of a device do`, topic)
		case strings.ContainsAny(rest, "{}"):
			return nil, fmt.Errorf("topic %q must hold no other braces than %s and %s", topic, productKeyHere, deviceNameHere)
		}
		if err := platform.ValidateWildcards(fmt.Sprintf("topic %q", topic), topic); err != nil {
			return nil, err
		}
	}
	return slices.Clone(topics), nil
}

// permitPublish is nil, or a *notPermitted that names the topic. That the caller may do the operation with the device at all is
// for permit to say.
func (s *service) permitPublish(ctx context.Context, operation string, id device.ID, topic string) error {
	if s.policy == nil {
		return nil
	}
	caller := CallerFrom(ctx)
	if s.policy.permitsTopic(caller, operation, id, topic, platform.MatchFilter) {
		return nil
	}
	return &notPermitted{caller: caller, operation: operation, device: id, topic: topic}
}

// permitFilters is nil, or a *notPermitted that names the first filter that could bring messages which the caller may not have.
func (s *service) permitFilters(ctx context.Context, operation string, id device.ID, filters []string) error {
	if s.policy == nil {
		return nil
	}
	caller := CallerFrom(ctx)
	for _, filter := range filters {
		if !s.policy.permitsTopic(caller, operation, id, filter, platform.CoversFilter) {
			return &notPermitted{caller: caller, operation: operation, device: id, topic: filter}
		}
	}
	return nil
}

// permitsTopic reports whether one rule lets the caller do the operation with the device and, by within, with the topic or filter.
func (p *Policy) permitsTopic(c Caller, operation string, id device.ID, topic string, within func(rule, topic string) bool) bool {
	return p.any(c, operation, func(r rule) bool {
		return r.has(id) && (len(r.topics) == 0 || slices.ContainsFunc(r.topics, func(t string) bool { return within(topicOf(t, id), topic) }))
	})
}

// topicOf is a rule's topic for a device.
func topicOf(topic string, id device.ID) string {
	return strings.ReplaceAll(strings.ReplaceAll(topic, productKeyHere, id.ProductKey), deviceNameHere, id.DeviceName)
}
