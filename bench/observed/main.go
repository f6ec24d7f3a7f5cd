// Command observed is the sidecar with a door for profiles: net/http/pprof on the Unix socket that OBSERVE names. It is for benchmarks
// and for whoever looks for what is hot; the command that is shipped has no such door. A GET of /settle returns memory to the system.
package main

import (
	"context"
	"net"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // it is what this command is for
	"os"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx := context.Background()
	http.HandleFunc("/settle", func(http.ResponseWriter, *http.Request) { program.Settle() })
	if path := os.Getenv("OBSERVE"); path != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
		if err != nil {
			panic(err)
		}
		server := &http.Server{ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(l) }() // ends with Close
		defer func() { _ = server.Close() }()
	}
	return cli.Program{Version: "observed", Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(ctx)
}
