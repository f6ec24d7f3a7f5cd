package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

const (
	outputHuman = "human"
	outputJSON  = "json"
)

// outputFlag lets a command speak to people or to programs.
func (r *run) outputFlag(cmd *cobra.Command) {
	words := []string{outputHuman, outputJSON}
	cmd.Flags().VarP(config.Choice(&r.output, outputHuman, words), "output", "o",
		"`form` of the output: human, or json, one object a line with the names of the proto")
	complete(cmd, "output", words)
}

// complete lets the shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// printJSON writes a message as one line.
func printJSON(w io.Writer, m proto.Message) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	var line bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&line, data); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err = w.Write(line.Bytes())
	return err
}

// printable is text that cannot command a terminal: much of what we print came over a network.
func printable(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r == '\n' || unicode.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return out.String()
}

// quoted is an argument of the user's in a message, not too much of it.
func quoted(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
