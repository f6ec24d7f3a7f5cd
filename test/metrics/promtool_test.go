package metrics

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// promtool runs Prometheus's own judge, and fails the test when it finds fault.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		path = "../../bin/promtool"
	}
	if _, err := exec.LookPath(path); err != nil {
		t.Fatalf("there is no promtool: `make test-deps` gets it (%v)", err)
	}
	c := exec.CommandContext(harness.Within(t), path, args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
