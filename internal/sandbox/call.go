package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// defaultCallTimeout is how long the platform's RRpc call waits when its caller does not say.
const defaultCallTimeout = 5 * time.Second

// The prefixes of RRPC's topics. Behind that of custom topics come the call's id and the topic that the caller chose; behind
// those of the system, the call's id.
const (
	customCallPrefix = "/ext/rrpc/"
	requestInfix     = "/rrpc/request/"
	responseInfix    = "/rrpc/response/"
)

// codeLateAnswer is under which the platform logs an answer that no call waits for.
const codeLateAnswer = 1904

// call is an RRPC that waits for its answer.
type call struct {
	answerOn string        // the topic
	answer   chan<- []byte // takes one without blocking
}

// outcome is what became of a call.
type outcome int

const (
	answered outcome = iota + 1
	timedOut
	calledOffline
	calledUnsubscribed
)

// callResult is what a caller is told.
type callResult struct {
	id      string
	outcome outcome
	payload []byte
}

// call does an RRPC: it sends the device a message of QoS 0, and waits for the device's answer on the topic that belongs to it.
// topic is a custom one; "" is the system's.
func (c *cloud) call(ctx context.Context, id device.ID, topic string, payload []byte, timeout time.Duration) (callResult, error) {
	l, err := c.linkOf(id)
	if err != nil {
		return callResult{}, err
	}
	result := callResult{id: c.nextCallID()}
	request, answerOn := callTopics(id, result.id, topic)
	if wrong, ok := errors.AsType[*platform.FieldError](platform.ValidateTopic(id, request)); ok {
		return callResult{}, fmt.Errorf("%w: topic %s", errInvalid, wrong.Problem)
	}
	if l == nil {
		result.outcome = calledOffline
		return result, nil
	}
	if topic != "" && !l.customCalls {
		result.outcome = calledUnsubscribed
		return result, nil
	}
	answer := make(chan []byte, 1)
	c.expectAnswer(id, result.id, call{answerOn, answer})
	defer c.expectNoAnswer(id, result.id)
	became, err := c.deliver(id, message{topic: request, payload: payload})
	if err != nil { // it was deleted just now
		return callResult{}, err
	}
	if became != sent {
		result.outcome = calledOffline
		if became == notSubscribed {
			result.outcome = calledUnsubscribed
		}
		return result, nil
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case result.payload = <-answer:
		result.outcome = answered
	case <-timer.C:
		result.outcome = timedOut
	case <-ctx.Done():
		return callResult{}, fmt.Errorf("the caller did not wait for the answer: %w", context.Cause(ctx))
	}
	return result, nil
}

// callTopics are the topics of a call and of its answer.
func callTopics(id device.ID, callID, topic string) (request, answer string) {
	if topic != "" {
		both := customCallPrefix + callID + topic
		return both, both
	}
	system := "/sys/" + id.ProductKey + "/" + id.DeviceName
	return system + requestInfix + callID, system + responseInfix + callID
}

// nextCallID is a number like the platform's: decimal, of 19 digits, and never given before, also not by a sandbox that ran
// earlier.
func (c *cloud) nextCallID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastCall = max(c.lastCall+1, time.Now().UnixNano())
	return strconv.FormatInt(c.lastCall, 10)
}

func (c *cloud) expectAnswer(id device.ID, callID string, waiting call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.find(id); t != nil {
		if t.calls == nil {
			t.calls = map[string]call{}
		}
		t.calls[callID] = waiting
	}
}

func (c *cloud) expectNoAnswer(id device.ID, callID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.find(id); t != nil {
		delete(t.calls, callID)
	}
}

// takeAnswer gives a message to the call that it answers. It reports whether the message is an answer that came too late, came a
// second time, or answers no call at all. The cloud's lock must be held.
func (t *thing) takeAnswer(topic string, payload []byte) (late bool) {
	callID, answers := strings.CutPrefix(topic, "/sys/"+t.id.ProductKey+"/"+t.id.DeviceName+responseInfix)
	if !answers {
		if callID, answers = strings.CutPrefix(topic, customCallPrefix); !answers {
			return false
		}
		callID, _, _ = strings.Cut(callID, "/")
	}
	waiting, expected := t.calls[callID]
	if !expected || waiting.answerOn != topic {
		return true
	}
	delete(t.calls, callID)
	waiting.answer <- payload
	return false
}
