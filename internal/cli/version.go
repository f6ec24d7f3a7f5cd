package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what is known of how this binary was made.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // there were changes that are in no commit
	Platform string `json:"platform"`
}

// build prefers what the Makefile says over what the Go toolchain recorded.
func (p Program) build() build {
	b := build{Version: p.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok && b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	return b
}

func (b build) String() string {
	text := fmt.Sprintf("linkkit-sidecar %s (%s, %s", b.Version, b.Go, b.Platform)
	if b.Commit != "" {
		text += ", commit " + b.Commit
	}
	if b.Modified {
		text += ", modified"
	}
	return text + ")"
}

func (r *run) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell which version this is",
		Long:  "Tells the version, the Go version it was built with, and the commit it was built from.",
		Example: `    linkkit-sidecar version
    linkkit-sidecar version --output json`,
	}
	cmd.RunE = r.operation(func(context.Context) error {
		if r.output == outputJSON {
			return json.NewEncoder(r.Stdout).Encode(r.build())
		}
		_, err := fmt.Fprintln(r.Stdout, r.build())
		return err
	})
	r.outputFlag(cmd)
	return cmd
}
