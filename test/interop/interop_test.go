// Package interop runs the vendor's own SDK, unmodified, against the sandbox: what it takes for the platform, our users may too.
package interop

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// callback is one that the SDK made.
type callback map[string]any

func (c callback) text(key string) string {
	s, _ := c[key].(string)
	return s
}

// vendor is a program on the SDK, with its flags.
func vendor(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"vendor.py", "--product-key", harness.ProductKey}, args...)
	return exec.CommandContext(ctx, "../../.venv/bin/python", args...) // `make test-deps` makes it
}

// run runs a program on the SDK and returns the callbacks by name; of several with one name the last.
func run(t *testing.T, c *exec.Cmd) map[string]callback {
	t.Helper()
	var log strings.Builder
	c.Stderr, c.WaitDelay = &log, 5*time.Second // what it started may hold the pipe
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", c, err, out, &log)
	}
	told := map[string]callback{}
	for line := range strings.Lines(string(out)) {
		var got callback
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v printed %q", c, line)
		}
		told[got.text("callback")] = got
	}
	return told
}

// at points a program at the sandbox's TLS port, where the SDK verifies the name "localhost".
func at(p *harness.Platform, args ...string) []string {
	return append([]string{"--host-name", "localhost", "--port", fmt.Sprint(p.Port("mqtts")), "--ca-file", p.CAFile()}, args...)
}

func TestLoginWithADeviceSecret(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	topic := "/" + harness.ProductKey + "/dev-001/user/update"
	told := run(t, vendor(harness.Within(t), at(p, "--device-name", "dev-001", "--device-secret", harness.DeviceSecret,
		"--interface", "WiFi|03ACDEFF0032", "--publish", topic, "--until", "on_publish_topic")...))
	if told["on_connect"]["rc"] != 0.0 {
		t.Errorf("on_connect %v", told["on_connect"])
	}
	sent, err := p.Console.ListMessages(t.Context(), &sandboxv1.ListMessagesRequest{Device: harness.ConsoleDevice("dev-001")})
	if err != nil || len(sent.Messages) != 1 || sent.Messages[0].Topic != topic || sent.Messages[0].Qos != 1 {
		t.Errorf("the platform got %v, %v", sent, err)
	}
	logins, err := p.Console.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{Device: harness.ConsoleDevice("dev-001")})
	if err != nil || len(logins.Logins) != 1 || !logins.Logins[0].Tls || logins.Logins[0].TlsServerName != "localhost" ||
		!strings.Contains(logins.Logins[0].ClientId, "sii=WiFi|03ACDEFF0032,") {
		t.Errorf("logins %v, %v", logins, err)
	}
}

func TestMessagesFromThePlatformReachTheSDK(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	topic := "/" + harness.ProductKey + "/dev-001/user/get"
	c := vendor(harness.Within(t), at(p, "--device-name", "dev-001", "--device-secret", harness.DeviceSecret,
		"--subscribe", topic, "--until", "on_topic_message")...)
	program := harness.Begin(t, c)
	harness.Eventually(t, "the subscription", func() bool { return strings.Contains(program.Out(), "on_subscribe_topic") })
	sent, err := p.Console.PublishDownstream(t.Context(), &sandboxv1.PublishDownstreamRequest{
		Device: harness.ConsoleDevice("dev-001"), Topic: topic, Payload: []byte("hello"), Qos: 1,
	})
	if err != nil || sent.Delivery != sandboxv1.Delivery_DELIVERY_SENT {
		t.Fatalf("PublishDownstream: %v, %v", sent, err)
	}
	<-program.Exited
	if !strings.Contains(program.Out(), `"payload": "hello", "qos": 1`) || !strings.Contains(program.Out(), `"granted_qos": [1]`) {
		t.Errorf("the SDK was told %s", program.Out())
	}
}

func TestPreRegistration(t *testing.T) {
	p := harness.StartPlatform(t, 1)
	told := run(t, vendor(harness.Within(t), at(p, "--device-name", "dev-002", "--auth-type", "register",
		"--product-secret", harness.ProductSecret, "--until", "on_device_dynamic_register")...))
	registered := told["on_device_dynamic_register"]
	if registered["rc"] != 0.0 || registered.text("value") == "" {
		t.Fatalf("registered %v", registered)
	}
	told = run(t, vendor(harness.Within(t), at(p, "--device-name", "dev-002", "--device-secret", registered.text("value"))...))
	if told["on_connect"]["rc"] != 0.0 {
		t.Errorf("with the secret that it got: %v", told["on_connect"])
	}
}

func TestRegistrationFree(t *testing.T) {
	p := harness.StartPlatform(t, 0)
	told := run(t, vendor(harness.Within(t), at(p, "--device-name", "made-up", "--auth-type", "regnwl",
		"--product-secret", harness.ProductSecret, "--until", "on_device_dynamic_register_nwl_reply")...))
	got := told["on_device_dynamic_register_nwl_reply"]
	if got["rc"] != 0.0 || got.text("password") == "" {
		t.Fatalf("registered %v", got)
	}
	told = run(t, vendor(harness.Within(t), at(p, "--device-name", "made-up",
		"--client-id", got.text("client_id"), "--username", got.text("username"), "--password", got.text("password"))...))
	if told["on_connect"]["rc"] != 0.0 {
		t.Errorf("with the token that it got: %v", told["on_connect"])
	}
}

// TestLegacyRegistration lets the SDK register over HTTPS. It has the host name built in, so it runs in namespaces of its own
// where that name is this machine, and verifies the certificate for it.
func TestLegacyRegistration(t *testing.T) {
	const host = "iot-auth.cn-shanghai.aliyuncs.com"
	dir := t.TempDir()
	hosts := filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+harness.ProductKey+".iot-as-mqtt.cn-shanghai.aliyuncs.com "+host+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := vendor(t.Context(), "--host-name", "cn-shanghai", "--device-name", "dev-002", "--auth-type", "", // which means HTTPS

		"--product-secret", harness.ProductSecret, "--ca-file", filepath.Join(dir, "state", "ca.pem"), "--until", "on_device_dynamic_register")
	script := `set -e
		ip link set lo up
		mount --bind "$HOSTS" /etc/hosts
		"$SIDECAR" sandbox --state-dir "$STATE" --fixture "$FIXTURE" --mqtt-address 127.0.0.1:1883 --mqtts-address 127.0.0.1:8883 \
			--https-address 127.0.0.1:443 --control-address "unix://$STATE.sock" >"$STATE.ready" &
		sandbox=$!
		trap 'kill $sandbox; wait' EXIT
		until grep -q ca_file "$STATE.ready"; do kill -0 $sandbox; sleep 0.05; done
		"$@"`
	c := exec.CommandContext(harness.Within(t), "unshare", append([]string{
		"--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh",
	}, program.Args...)...)
	c.Env = append(os.Environ(), "HOSTS="+hosts, "SIDECAR="+harness.Binary, "STATE="+filepath.Join(dir, "state"), "FIXTURE="+harness.Fixture(t, 1))
	registered := run(t, c)["on_device_dynamic_register"]
	if registered["rc"] != 0.0 || len(registered.text("value")) != 32 {
		t.Errorf("registered %v", registered)
	}
}

// TestTheSidecarSignsAsTheSDKDoes catches the CONNECT that the SDK sends, and signs the same login.
func TestTheSidecarSignsAsTheSDKDoes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	program := harness.Begin(t, vendor(t.Context(), "--host-name", "127.0.0.1", "--port", port,
		"--device-name", "dev-001", "--device-secret", harness.DeviceSecret))
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	clientID, username, password := readConnect(t, conn)
	_ = conn.Close()
	program.Kill()

	sent, err := platform.ParseClientID(clientID)
	if err != nil {
		t.Fatal(err)
	}
	ours := platform.SecretLogin(device.ID{ProductKey: harness.ProductKey, DeviceName: "dev-001"}, device.NewSecret(harness.DeviceSecret),
		platform.LoginOptions{SignMethod: platform.HMACSHA1, PlainTCP: true, Timestamp: sent.Get("timestamp")})
	base, _, _ := strings.Cut(ours.ClientID, "|")
	if base != sent.Base || ours.Username != username || ours.Password.Reveal() != password || sent.Get("timestamp") == "" {
		t.Errorf("the SDK sends %q %q %q; for the same timestamp we sign %q %q %q",
			clientID, username, password, ours.ClientID, ours.Username, ours.Password.Reveal())
	}
}

// readConnect reads a CONNECT packet without a will.
func readConnect(t *testing.T, conn net.Conn) (clientID, username, password string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if first, err := r.ReadByte(); err != nil || first != 0x10 {
		t.Fatalf("a CONNECT was due and %#x came: %v", first, err)
	}
	length, err := binary.ReadUvarint(r) // the same form as MQTT's remaining length
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	text := func() string {
		n := binary.BigEndian.Uint16(body)
		s := string(body[2 : 2+n])
		body = body[2+n:]
		return s
	}
	_ = text()      // the protocol's name
	body = body[4:] // level, flags, keep alive
	return text(), text(), text()
}
