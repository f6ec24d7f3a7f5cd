// Command linkkit-sidecar keeps a device online on Alibaba Cloud IoT Platform, for apps in any language. `linkkit-sidecar help`
// tells what it does; internal/cli does it.
package main

import (
	"context"
	"os"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/cli"
)

// version is set by the Makefile: go build -ldflags "-X main.version=…".
var version string

func main() {
	os.Exit(cli.Program{
		Version: version, Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}.Run(context.Background()))
}
