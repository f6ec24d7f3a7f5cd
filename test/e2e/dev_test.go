package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// TestWhatDevPrintsWorksWhenPasted starts `dev` as a newcomer does and pastes each line that it prints into a shell.
func TestWhatDevPrintsWorksWhenPasted(t *testing.T) {
	c := exec.CommandContext(t.Context(), harness.Binary, "dev", "--kick-after", "0")
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	dev := harness.Begin(t, c)
	harness.Eventually(t, "the device to be online", func() bool { return strings.Contains(dev.Out(), "online ") })
	pasted := map[string]string{}
	for line := range strings.Lines(dev.Out()) {
		line = strings.TrimSpace(line)
		command, _, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(command, "grpcurl") && !strings.HasSuffix(command, "linkkit-sidecar") {
			continue
		}
		shell := exec.CommandContext(harness.Within(t), "sh", "-c", line)
		if strings.HasSuffix(line, "/Events") { // this one goes on until it is ended
			shell.Args[2] = "timeout 2 " + line + " || test $? = 124"
		}
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		pasted[line[strings.LastIndexAny(line, "/ ")+1:]] = string(out)
	}
	for line, want := range map[string]string{
		"ListDevices": "LINK_STATE_ONLINE", "Events": `"snapshot"`, "KickDevice": `"wasOnline": true`,
		"Publish": `"outcome": "OUTCOME_STORED"`, "hello": "stored by the sidecar",
	} {
		if !strings.Contains(pasted[line], want) {
			t.Errorf("%s said %q", line, pasted[line])
		}
	}
	if len(pasted) != 6 {
		t.Errorf("pasted %d lines", len(pasted))
	}
	harness.Eventually(t, "the return after the kick", func() bool { return strings.Count(dev.Out(), "online ") >= 2 })
	if code := dev.Terminate(); code != 0 && code != 130 {
		t.Errorf("dev ended with %d", code)
	}
}

// TestTheWalkthroughOnDev does the same as against serve, on the second device of dev's platform.
func TestTheWalkthroughOnDev(t *testing.T) {
	state := t.TempDir()
	c := exec.CommandContext(t.Context(), harness.Binary, "dev", "--kick-after", "0")
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+state)
	dev := harness.Begin(t, c)
	harness.Eventually(t, "the device to be online", func() bool { return strings.Contains(dev.Out(), "online ") })
	_, port, _ := strings.Cut(dev.Out(), "MQTT over TLS 127.0.0.1:")
	port, _, _ = strings.Cut(port, ",")
	dir := state + "/linkkit-sidecar/dev"
	create := exec.CommandContext(harness.Within(t), harness.Grpcurl, "-plaintext", "-unix", "-d",
		`{"device": {"product_key": "a1B2c3D4e5F", "device_name": "dev-003"}}`, dir+"/platform.sock", "linkkit_sidecar.sandbox.v1.SandboxService/CreateDevice")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("CreateDevice: %v\n%s", err, out)
	}
	if told := walk(t, dir+"/sidecar.sock", dir+"/platform.sock", port, "dev-003"); !strings.Contains(told, `"disconnected"`) {
		t.Errorf("told %s", told)
	}
}
