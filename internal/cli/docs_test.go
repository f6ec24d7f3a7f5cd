package cli

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

// TestTheReferenceNamesEveryFlagOfTheServers keeps docs/configuration.md true.
func TestTheReferenceNamesEveryFlagOfTheServers(t *testing.T) {
	reference, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Program: Program{Stdout: io.Discard, Stderr: io.Discard}, known: config.Known{}}
	flags := 0
	for _, command := range r.root().Commands() {
		if name := command.Name(); name != "serve" && name != "sandbox" {
			continue
		}
		command.LocalFlags().VisitAll(func(f *pflag.Flag) {
			flags++
			if f.Name != "help" && !strings.Contains(string(reference), "`--"+f.Name+"`") && f.Name != "print-config" {
				t.Errorf("docs/configuration.md does not name --%s of %s", f.Name, command.Name())
			}
		})
	}
	if flags < 20 {
		t.Errorf("only %d flags were looked for", flags)
	}
}
