package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

func TestMessagesAreSelectedByTopicAndNumber(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	const post = "/sys/a1B2c3D4e5F/dev-001/thing/event/property/post"
	for _, topic := range []string{up, post, up, up + "/error", post, up} { // numbers 1 to 6
		c.publish(topic, "")
	}
	c.ping()
	for _, q := range []struct {
		name string
		r    *sandboxv1.ListMessagesRequest
		want []uint64
	}{
		{"all", &sandboxv1.ListMessagesRequest{}, []uint64{1, 2, 3, 4, 5, 6}},
		{"the newest", &sandboxv1.ListMessagesRequest{Limit: 2}, []uint64{5, 6}},
		{"more than there are", &sandboxv1.ListMessagesRequest{Limit: 1<<32 - 1}, []uint64{1, 2, 3, 4, 5, 6}},
		{"of one topic", &sandboxv1.ListMessagesRequest{TopicFilter: up}, []uint64{1, 3, 6}},
		{"of many levels", &sandboxv1.ListMessagesRequest{TopicFilter: up + "/#"}, []uint64{1, 3, 4, 6}},
		{"of one level", &sandboxv1.ListMessagesRequest{TopicFilter: "/+/+/user/update"}, []uint64{1, 3, 6}},
		{"of any topic", &sandboxv1.ListMessagesRequest{TopicFilter: "#"}, []uint64{1, 2, 3, 4, 5, 6}},
		{"of none", &sandboxv1.ListMessagesRequest{TopicFilter: topicOf(dev002, "#")}, nil},
		{"the newest of a topic", &sandboxv1.ListMessagesRequest{TopicFilter: post, Limit: 1}, []uint64{5}},
		{"from a number on", &sandboxv1.ListMessagesRequest{AfterNumber: 4}, []uint64{5, 6}},
		{"from the last on", &sandboxv1.ListMessagesRequest{AfterNumber: 6}, nil},
		{"from the future on", &sandboxv1.ListMessagesRequest{AfterNumber: 1<<64 - 1}, nil},
		{"all together", &sandboxv1.ListMessagesRequest{AfterNumber: 1, TopicFilter: up, Limit: 2}, []uint64{3, 6}},
	} {
		q.r.Device = toDevice(dev001)
		got, err := s.ListMessages(t.Context(), q.r)
		if err != nil || got.GetMore() || !slices.Equal(numbers(got), q.want) {
			t.Errorf("%s: %v, more %v, %v; want %v", q.name, numbers(got), got.GetMore(), err, q.want)
		}
	}
}

func numbers(r *sandboxv1.ListMessagesResponse) (all []uint64) {
	for _, m := range r.GetMessages() {
		all = append(all, m.GetNumber())
	}
	return all
}

func TestABadTopicFilterIsNamed(t *testing.T) {
	s := start(t)
	for filter, says := range map[string]string{
		"a+":                         `topic_filter holds a "+"`,
		"/a/+b/c":                    `topic_filter holds a "+"`,
		"#/a":                        `topic_filter holds a "#"`,
		"/a#":                        `topic_filter holds a "#"`,
		"/\x00":                      "topic_filter must be UTF-8",
		"/\xff":                      "topic_filter must be UTF-8",
		strings.Repeat("x", 1<<16+1): "topic_filter has 65537 bytes",
	} {
		_, err := s.ListMessages(t.Context(), &sandboxv1.ListMessagesRequest{Device: toDevice(dev001), TopicFilter: filter})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q: %v", filter, err)
		}
	}
}

func TestAGreatAnswerComesInPages(t *testing.T) {
	s := start(t, controlSocket(t))
	client := sandboxv1.NewSandboxServiceClient(s.dial())
	c := s.login(dev001, deviceSecret)
	const count = 40
	var want []uint64
	for i := range count {
		topic := up
		if i%10 == 9 {
			topic += "/error"
		} else {
			want = append(want, uint64(i+1))
		}
		c.write(appendPublish(nil, message{topic: topic, payload: make([]byte, platform.MaxPayloadBytes), qos: 1, id: 1}))
		c.wantPacket(ack(typePuback, 1)...)
	}
	for _, limit := range []uint32{0, 20} {
		r := &sandboxv1.ListMessagesRequest{Device: toDevice(dev001), TopicFilter: up, Limit: limit}
		var got []uint64
		for pages := 1; ; pages++ {
			answer, err := client.ListMessages(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if n := proto.Size(answer); n > maxAnswer {
				t.Errorf("an answer has %d bytes", n)
			}
			got = append(got, numbers(answer)...)
			if !answer.GetMore() {
				if pages < 2 {
					t.Error("there was one page only")
				}
				break
			}
			r.AfterNumber = got[len(got)-1]
		}
		expected := want
		if limit > 0 {
			expected = want[len(want)-int(limit):]
		}
		if !slices.Equal(got, expected) {
			t.Errorf("with the limit %d: %v", limit, got)
		}
	}
}

func TestKeepsAsManyMessagesAsItIsTold(t *testing.T) {
	s := start(t, func(o *Options) { o.KeepMessages = 3 })
	c := s.login(dev001, deviceSecret)
	for i := range 11 {
		c.publish(up, fmt.Sprint(i))
		c.ping()
		got, err := s.ListMessages(t.Context(), &sandboxv1.ListMessagesRequest{Device: toDevice(dev001)})
		var want []uint64
		for n := max(1, i-1); n <= i+1; n++ {
			want = append(want, uint64(n))
		}
		if err != nil || !slices.Equal(numbers(got), want) {
			t.Errorf("after %d: %v, %v", i+1, numbers(got), err)
		}
	}
	if got, err := s.ListMessages(t.Context(), &sandboxv1.ListMessagesRequest{Device: toDevice(dev001), AfterNumber: 2}); err != nil || len(got.GetMessages()) != 3 {
		t.Errorf("from a number on that is forgotten: %v, %v", numbers(got), err)
	}
	for _, keep := range []int{-1, MaxKeepMessages + 1} {
		if _, err := New(Options{StateDir: stateDir, KeepMessages: keep}); err == nil || !strings.Contains(err.Error(), "1 to 1000000") {
			t.Errorf("%d: %v", keep, err)
		}
	}
}
