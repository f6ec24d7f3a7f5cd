// Package harness runs the built binary for tests: processes, sockets, signals and files, as a user has them.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary is the command under test, and Grpcurl the tool that users have. Main builds both from this tree.
var Binary, Grpcurl string

// Main is the TestMain of a package two folders below the root: it builds what is under test, and takes it away again.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "linkkit-sidecar-test")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	Binary, Grpcurl = filepath.Join(dir, "linkkit-sidecar"), filepath.Join(dir, "grpcurl")
	build("-o", Binary, "./cmd/linkkit-sidecar")
	build("-modfile=tools/go.mod", "-o", Grpcurl, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	return m.Run()
}

func build(args ...string) {
	c := exec.CommandContext(context.Background(), "go", append([]string{"build"}, args...)...)
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go build %v: %v\n%s", args, err, out))
	}
}
