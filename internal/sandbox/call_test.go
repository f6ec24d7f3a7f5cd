package sandbox

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// called is what CallDevice gave.
type called struct {
	*sandboxv1.CallDeviceResponse
	err error
}

// begin calls dev-001 in the background.
func (c *cloud) begin(ctx context.Context, topic, payload string, timeout *durationpb.Duration) <-chan called {
	given := make(chan called, 1)
	go func() {
		r, err := console{cloud: c}.CallDevice(ctx, &sandboxv1.CallDeviceRequest{
			Device: toDevice(dev001), Topic: topic, Payload: []byte(payload), Timeout: timeout,
		})
		given <- called{r, err}
	}()
	return given
}

// wantCall reads a request whose topic is the call's id between prefix and suffix, and returns that id.
func (c *client) wantCall(prefix, suffix, payload string) string {
	c.t.Helper()
	m, err := parsePublish(c.read())
	rest, isCall := strings.CutPrefix(m.topic, prefix)
	id, whole := strings.CutSuffix(rest, suffix)
	if err != nil || !isCall || !whole || id == "" || strings.Trim(id, "0123456789") != "" || string(m.payload) != payload || m.qos != 0 {
		c.t.Fatalf("got %+v (%v) and not a call", m, err)
	}
	return id
}

func (c *client) publish(topic, payload string) {
	c.t.Helper()
	c.write(appendPublish(nil, message{topic: topic, payload: []byte(payload)}))
}

const (
	systemRequest  = "/sys/a1B2c3D4e5F/dev-001/rrpc/request/"
	systemResponse = "/sys/a1B2c3D4e5F/dev-001/rrpc/response/"
)

func TestADeviceAnswersACall(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	var last string
	for range 3 {
		given := s.cloud.begin(t.Context(), "", "question", nil)
		id := c.wantCall(systemRequest, "", "question")
		if id == last {
			t.Error("two calls have one id")
		}
		last = id
		c.publish(systemResponse+id, "answer")
		r := <-given
		if r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED || string(r.GetPayload()) != "answer" || r.GetCallId() != id {
			t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
		}
	}
	got := s.messages(dev001)
	if len(got) != 3 || got[2].GetTopic() != systemResponse+last || got[2].GetLateCallAnswer() {
		t.Errorf("recorded: %v", got)
	}
}

func TestADeviceAnswersACallOnACustomTopic(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret) // with ext=1
	given := s.cloud.begin(t.Context(), userGet, "", nil)
	if r := <-given; r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_NOT_SUBSCRIBED || r.GetCallId() == "" {
		t.Errorf("without a subscription: %v, %v", r.CallDeviceResponse, r.err)
	}
	c.subscribe("/ext/rrpc/+" + userGet)
	given = s.cloud.begin(t.Context(), userGet, "question", nil)
	id := c.wantCall("/ext/rrpc/", userGet, "question")
	c.publish("/ext/rrpc/"+id+userGet+"x", "on another topic")
	c.publish(systemResponse+id, "on the system's topic")
	c.publish("/ext/rrpc/"+id+userGet, "answer")
	if r := <-given; r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED || string(r.GetPayload()) != "answer" {
		t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
	}
	c.publish("/ext/rrpc/"+id+userGet, "answer again")
	c.ping()
	got := s.messages(dev001)
	if len(got) != 4 {
		t.Fatalf("recorded: %v", got)
	}
	for i, late := range []bool{true, true, false, true} {
		if got[i].GetLateCallAnswer() != late {
			t.Errorf("%v: want late %v", got[i], late)
		}
	}
	// A thing's service on a custom topic needs no subscription.
	given = s.cloud.begin(t.Context(), "/sys/a1B2c3D4e5F/dev-001/thing/service/reboot", "", nil)
	id = c.wantCall("/ext/rrpc/", "/sys/a1B2c3D4e5F/dev-001/thing/service/reboot", "")
	c.publish("/ext/rrpc/"+id+"/sys/a1B2c3D4e5F/dev-001/thing/service/reboot", "")
	if r := <-given; r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED {
		t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
	}
}

func TestACustomTopicIsForDevicesThatSaySo(t *testing.T) {
	s := start(t)
	for ext, want := range map[string]sandboxv1.CallOutcome{
		"":         sandboxv1.CallOutcome_CALL_OUTCOME_NOT_SUBSCRIBED,
		",ext=2":   sandboxv1.CallOutcome_CALL_OUTCOME_NOT_SUBSCRIBED,
		",ext=odd": sandboxv1.CallOutcome_CALL_OUTCOME_NOT_SUBSCRIBED,
		",ext=3":   sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED,
	} {
		c := s.plain()
		signature := platform.HMACMD5.Sign(device.NewSecret(deviceSecret), platform.LoginContent("c", dev001, ""))
		if code := c.connect(credentials{"c|securemode=3" + ext + "|", "dev-001&a1B2c3D4e5F", signature}); code != 0 {
			t.Fatalf("CONNACK %d", code)
		}
		c.subscribe("/ext/rrpc/+"+userGet, systemRequest+"+")
		given := s.cloud.begin(t.Context(), userGet, "", nil)
		if want == sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED {
			c.publish("/ext/rrpc/"+c.wantCall("/ext/rrpc/", userGet, "")+userGet, "")
		}
		if r := <-given; r.err != nil || r.GetOutcome() != want {
			t.Errorf("%q: %v, %v, want %v", ext, r.CallDeviceResponse, r.err, want)
		}
		given = s.cloud.begin(t.Context(), "", "", nil) // the system's topic is for all
		c.publish(systemResponse+c.wantCall(systemRequest, "", ""), "")
		if r := <-given; r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED {
			t.Errorf("%q: %v, %v", ext, r.CallDeviceResponse, r.err)
		}
	}
}

func TestACallIsNotMadeToAnOfflineDevice(t *testing.T) {
	s := start(t)
	if r := <-s.cloud.begin(t.Context(), "", "", nil); r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_OFFLINE {
		t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
	}
	c := s.plain().resume(false)
	s.hangUp(c)
	if r := <-s.cloud.begin(t.Context(), "", "", nil); r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_OFFLINE {
		t.Errorf("with a session that lasts: %v, %v", r.CallDeviceResponse, r.err)
	}
	s.plain().resume(true).ping() // and it does not come later
}

func TestACallWaitsForItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		timeout *durationpb.Duration
		want    time.Duration
	}{
		"as it says":     {durationpb.New(8 * time.Second), 8 * time.Second},
		"a nanosecond":   {durationpb.New(1), 1},
		"saying nothing": {nil, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := newTestCloud(t)
				d := cloud.pipe(t.Context(), t, door{})
				d.connect(secretLogin(dev001, deviceSecret))
				began := time.Now()
				given := cloud.begin(t.Context(), "", "", c.timeout)
				id := d.wantCall(systemRequest, "", "")
				r := <-given
				if after := time.Since(began); r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_TIMEOUT || r.GetCallId() != id || after != c.want {
					t.Errorf("%v, %v after %v", r.CallDeviceResponse, r.err, after)
				}
				d.publish(systemResponse+id, "late")
				d.ping()
				got := cloud.products[productKey].devices["dev-001"].messages.last(2)
				if len(got) != 1 || !got[0].lateAnswer || string(got[0].payload) != "late" {
					t.Errorf("recorded: %+v", got)
				}
			})
		})
	}
}

func TestAnAnswerMayComeOverTheNextLink(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	given := s.cloud.begin(t.Context(), "", "", durationpb.New(8*time.Second))
	id := c.wantCall(systemRequest, "", "")
	s.login(dev001, deviceSecret).publish(systemResponse+id, "")
	if r := <-given; r.err != nil || r.GetOutcome() != sandboxv1.CallOutcome_CALL_OUTCOME_ANSWERED {
		t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
	}
}

func TestACallEndsWithItsCaller(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	ctx, cancel := context.WithCancel(t.Context())
	given := s.cloud.begin(ctx, "", "", nil)
	id := c.wantCall(systemRequest, "", "")
	cancel()
	if r := <-given; status.Code(r.err) != codes.Canceled {
		t.Errorf("%v, %v", r.CallDeviceResponse, r.err)
	}
	c.publish(systemResponse+id, "")
	c.ping()
	if got := s.messages(dev001); len(got) != 1 || !got[0].GetLateCallAnswer() {
		t.Errorf("recorded: %v", got)
	}
}

func TestABadCallIsNotMade(t *testing.T) {
	s := start(t)
	s.login(dev001, deviceSecret)
	for name, c := range map[string]struct {
		change func(*sandboxv1.CallDeviceRequest)
		says   string
		want   codes.Code
	}{
		"no device":          {func(r *sandboxv1.CallDeviceRequest) { r.Device = nil }, "", codes.InvalidArgument},
		"an unknown device":  {func(r *sandboxv1.CallDeviceRequest) { r.Device.DeviceName = "dev-009" }, "dev-009", codes.NotFound},
		"a great payload":    {func(r *sandboxv1.CallDeviceRequest) { r.Payload = make([]byte, 256<<10+1) }, "payload has 262145 bytes", codes.InvalidArgument},
		"no timeout":         {func(r *sandboxv1.CallDeviceRequest) { r.Timeout = durationpb.New(0) }, "timeout must be", codes.InvalidArgument},
		"a negative timeout": {func(r *sandboxv1.CallDeviceRequest) { r.Timeout = durationpb.New(-1) }, "timeout must be", codes.InvalidArgument},
		"a long timeout":     {func(r *sandboxv1.CallDeviceRequest) { r.Timeout = durationpb.New(8*time.Second + 1) }, "at most 8s", codes.InvalidArgument},
		"a nonsense timeout": {func(r *sandboxv1.CallDeviceRequest) { r.Timeout = &durationpb.Duration{Seconds: 1 << 60} }, "timeout must be", codes.InvalidArgument},
		"a relative topic":   {func(r *sandboxv1.CallDeviceRequest) { r.Topic = "user/get" }, `topic must begin with "/"`, codes.InvalidArgument},
		"a wildcard":         {func(r *sandboxv1.CallDeviceRequest) { r.Topic = topicOf(dev001, "user/+") }, "topic holds a wildcard", codes.InvalidArgument},
		"a long topic":       {func(r *sandboxv1.CallDeviceRequest) { r.Topic = "/" + strings.Repeat("x", 128) }, "topic has 129 bytes", codes.InvalidArgument},
		"an empty topic":     {func(r *sandboxv1.CallDeviceRequest) { r.Topic = "/" }, "topic", codes.InvalidArgument},
	} {
		r := &sandboxv1.CallDeviceRequest{Device: toDevice(dev001)}
		c.change(r)
		if _, err := s.CallDevice(t.Context(), r); status.Code(err) != c.want || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
