package sandbox

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// up is what dev-001 publishes on.
var up = topicOf(dev001, "user/update")

// flood publishes count messages of QoS 1 at one moment, and reads their acknowledgements.
func (c *client) flood(count, bytes int) {
	c.t.Helper()
	for i := range count {
		id := uint16(i + 1)
		c.write(appendPublish(nil, message{topic: up, payload: make([]byte, bytes), qos: 1, id: id}))
		c.wantPacket(ack(typePuback, id)...)
	}
}

// published is dev-001, as the cloud knows it. Nothing must be under way.
func (c *cloud) published() (kept int, dropped, overRate uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(dev001)
	return len(t.messages.last(DefaultKeepMessages)), t.dropped, t.overRate
}

func TestAStrictSandboxDropsWhatComesTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		cloud.options.Strict = true
		login := func() *client {
			c := cloud.pipe(t.Context(), t, door{})
			if code := c.connect(secretLogin(dev001, deviceSecret)); code != 0 {
				t.Fatalf("CONNACK %d", code)
			}
			return c
		}
		want := func(kept int, dropped uint64) {
			t.Helper()
			if k, d, o := cloud.published(); k != kept || d != dropped || o != dropped {
				t.Errorf("%d were kept, %d dropped, %d over the rate; want %d and %d", k, d, o, kept, dropped)
			}
		}
		c := login()
		c.flood(20, 0)
		time.Sleep(600 * time.Millisecond)
		c.flood(15, 0) // of which 10 fit into the second
		want(30, 5)
		login().flood(5, 0) // a new link is the same device
		want(30, 10)
		c = login()
		time.Sleep(399 * time.Millisecond)
		c.flood(1, 0)
		want(30, 11)
		time.Sleep(time.Millisecond) // a second after the first twenty; what was dropped does not count
		c.flood(21, 0)
		want(50, 12)
		time.Sleep(time.Second)
		c.flood(40, 0)
		want(80, 22)
	})
}

func TestAStrictSandboxDropsWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		cloud.options.Strict = true
		c := cloud.pipe(t.Context(), t, door{})
		c.connect(secretLogin(dev001, deviceSecret))
		c.flood(4, platform.MaxPayloadBytes-len(up)) // 1,024 KiB
		c.flood(1, 0)
		if kept, dropped, _ := cloud.published(); kept != 4 || dropped != 1 {
			t.Errorf("%d were kept, %d dropped", kept, dropped)
		}
		time.Sleep(time.Second)
		c.flood(3, platform.MaxPayloadBytes)
		c.flood(1, platform.MaxPayloadBytes)
		c.flood(2, 1000) // there is room for small ones
		if kept, dropped, _ := cloud.published(); kept != 9 || dropped != 2 {
			t.Errorf("%d were kept, %d dropped", kept, dropped)
		}
	})
}

func TestALenientSandboxWarnsOnceAMinuteOfWhatComesTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		cloud := newTestCloud(t)
		cloud.log = slog.New(slog.NewTextHandler(&log, nil))
		c := cloud.pipe(t.Context(), t, door{})
		c.connect(secretLogin(dev001, deviceSecret))
		warnings := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := strings.Count(log.String(), "more than the platform takes"); got != want {
				t.Errorf("%d warnings, want %d:\n%s", got, want, &log)
			}
		}
		c.flood(platform.MaxPublishesPerSecond, 0)
		warnings(0)
		c.flood(100, 0)
		warnings(1)
		if kept, dropped, over := cloud.published(); kept != 130 || dropped != 0 || over != 100 {
			t.Errorf("%d were kept, %d dropped, %d over the rate", kept, dropped, over)
		}
		for range 59 {
			time.Sleep(time.Second)
			c.flood(platform.MaxPublishesPerSecond+1, 0)
		}
		warnings(1)
		time.Sleep(time.Second)
		c.flood(platform.MaxPublishesPerSecond+1, 0)
		warnings(2)
	})
}

func TestTheConsoleTellsWhatWasDropped(t *testing.T) {
	s := start(t)
	c := s.login(dev001, deviceSecret)
	for range 2 {
		c.publish(topicOf(dev002, "user/update"), "foreign")
	}
	for i := range 100 {
		c.publish(up, fmt.Sprint(i))
	}
	c.ping()
	d := s.status(dev001)
	if d.GetMessagesDropped() != 2 || len(s.messages(dev001)) != 100 {
		t.Errorf("%d messages, and the device is %v", len(s.messages(dev001)), d)
	}
}
