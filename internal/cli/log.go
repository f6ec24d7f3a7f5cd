package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

// logFlags say what a server logs. It logs to standard error: standard output is for the ready line.
type logFlags struct {
	level, format string
	current       slog.LevelVar // of the logger
}

func (o *logFlags) add(cmd *cobra.Command, level string) {
	cmd.Flags().Var(config.Choice(&o.level, level, logLevels), "log-level", "least `level` to log: debug, info, warn, error")
	cmd.Flags().Var(config.Choice(&o.format, "text", logFormats), "log-format", "`form` of the log: text or json")
	complete(cmd, "log-level", logLevels)
	complete(cmd, "log-format", logFormats)
}

func (o *logFlags) logger(w io.Writer) *slog.Logger {
	o.current.Set(o.asked())
	options := &slog.HandlerOptions{Level: &o.current}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// asked is the level of the flag.
func (o *logFlags) asked() (level slog.Level) {
	_ = level.UnmarshalText([]byte(o.level)) // the flag takes no other words
	return level
}

// obey lets signals change the level of the logger, until the returned function is called: SIGUSR1 to debug, SIGUSR2 back to what
// the flag says. Whoever may send a signal owns the process, which cannot be said of whoever reaches the page for operators.
func (o *logFlags) obey(log *slog.Logger) (stop func()) {
	signals, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		defer close(over)
		for s := range signals {
			before, level := o.current.Level(), o.asked()
			if s == syscall.SIGUSR1 {
				level = slog.LevelDebug
			}
			o.current.Set(min(before, level)) // so that the line is seen
			log.Log(context.Background(), min(before, level), "the log's level is changed by a signal", "from", before, "to", level)
			o.current.Set(level)
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-over
	}
}
