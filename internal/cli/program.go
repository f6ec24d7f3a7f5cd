package cli

import (
	"context"
	"errors"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

// Program is one run of the command line, and all that it touches of the process it runs in.
type Program struct {
	Version string   // as the build says; "" asks the Go toolchain's record
	Args    []string // without the program's name
	Environ []string // "NAME=VALUE"
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// Run runs the command that Args name and returns the exit code. The first SIGINT or SIGTERM ends it in good order, the second
// at once.
func (p Program) Run(ctx context.Context) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from then on a signal does what it does to any program

	run := &run{Program: p, known: config.Known{}, secrets: &config.Secrets{Stdin: p.Stdin}}
	root := run.root()
	err := root.ExecuteContext(ctx)
	if err != nil && !run.begun {
		err = usage(err)
	}
	if err != nil {
		run.complain(err)
	}
	return exitCode(err)
}

// run is what the commands of one Program share.
type run struct {
	Program
	known   config.Known
	secrets *config.Secrets

	configFile string
	output     string // "human" or "json"; "" in commands that have no choice

	// Filled in before a command runs.
	file   *config.File // nil when there is none
	origin config.Origin
	begun  bool // the command does its work: errors from before are wrong usage
}

// operation is the work of a command.
func (r *run) operation(work func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		r.begun = true
		return work(cmd.Context())
	}
}

// root is the command that has all others.
func (r *run) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "linkkit-sidecar",
		Short:         "Keeps a device online on Alibaba Cloud IoT Platform, for apps in any language",
		Long:          rootHelp,
		Example:       rootExample,
		Args:          knownCommand,
		SilenceErrors: true, // complain does it
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,

		Version:           r.build().Version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return r.configure(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { r.begun = true; return cmd.Help() },
	}
	root.SetArgs(r.Args)
	root.SetIn(r.Stdin)
	root.SetOut(r.Stdout)
	root.SetErr(r.Stderr)
	root.SetHelpFunc(help)
	root.SetUsageFunc(usageOf)
	root.SetFlagErrorFunc(r.flagError)
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.PersistentFlags().StringVar(&r.configFile, "config", "", "YAML `file` with settings, and with the devices to keep online")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	root.AddGroup(
		&cobra.Group{ID: "servers", Title: "Start something:"},
		&cobra.Group{ID: "clients", Title: "Ask a running sidecar:"},
		&cobra.Group{ID: "more", Title: "More:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("servers", r.devCommand(), r.serveCommand(), r.sandboxCommand())
	add("clients", r.registerCommand(), r.connectCommand(), r.disconnectCommand(), r.statusCommand(), r.eventsCommand(),
		r.publishCommand(), r.subscribeCommand(), r.inboxesCommand(), r.forgetCommand())
	add("more", r.versionCommand())
	r.known.Add(root.PersistentFlags())
	for _, c := range root.Commands() {
		if c.Args == nil {
			c.Args = noArguments
		}
		c.Flags().SortFlags = false // those that matter most come first
		r.known.Add(c.Flags())
	}
	return root
}

// knownCommand refuses a command that there is not, and says which one may be meant.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := "there is no command " + quoted(args[0])
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(text)
}

// noArguments refuses arguments and says where they may belong.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return errors.New("it takes no argument beside its flags, and got " + quoted(args[0]))
}

// configure reads the file and the environment into the flags that the command line left open.
func (r *run) configure(cmd *cobra.Command) error {
	switch cmd.Name() {
	case "help", "completion", "bash", "zsh", "fish", "powershell", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return nil // these must work whatever the configuration says
	}
	return r.readConfig(cmd.Flags())
}

func (r *run) readConfig(fs *pflag.FlagSet) (err error) {
	path := r.configFile
	if path == "" {
		path = r.getenv(config.Variable("config"))
	}
	if path != "" {
		if r.file, err = config.Read(path, r.known); err != nil {
			return err
		}
	}
	r.origin, err = config.Apply(fs, r.file, r.Environ, r.known)
	return err
}

// flagError tells what to do about a flag that cannot be understood.
func (r *run) flagError(_ *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if file := r.known.SecretFlag(missing.GetSpecifiedName()); file != "" {
			return errors.New("there is no flag --" + missing.GetSpecifiedName() +
				": every user of this machine could read the secret; put it into a file and give --" + file + " FILE")
		}
	}
	return err
}

// getenv is the last value of an environment variable, as the operating system would have it.
func (r *run) getenv(name string) string {
	value := ""
	for _, entry := range r.Environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
