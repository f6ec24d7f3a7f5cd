package cli

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

// logFlags say what a server logs. It logs to standard error: standard output is for the ready line.
type logFlags struct{ level, format string }

func (o *logFlags) add(cmd *cobra.Command, level string) {
	cmd.Flags().Var(config.Choice(&o.level, level, logLevels), "log-level", "least `level` to log: debug, info, warn, error")
	cmd.Flags().Var(config.Choice(&o.format, "text", logFormats), "log-format", "`form` of the log: text or json")
	complete(cmd, "log-level", logLevels)
	complete(cmd, "log-format", logFormats)
}

func (o *logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(o.level)) // the flag takes no other words
	options := &slog.HandlerOptions{Level: level}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
