package cli

import (
	"cmp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Commands are listed in the order in which one needs them.
func init() { cobra.EnableCommandSorting = false } //nolint:gochecknoinits // cobra has no other place for it

const rootHelp = `linkkit-sidecar owns a device on Alibaba Cloud IoT Platform: its secret, its registration, its MQTT link. Apps in any
language talk gRPC to it over a Unix socket, and may come and go without the device going offline.

New here? Run "linkkit-sidecar dev": it needs no account, no flag and no network.

Every flag is also an environment variable and a key of the YAML file that --config names:
    --state-dir DIR     LINKKIT_SIDECAR_STATE_DIR=DIR     state_dir: DIR
A flag wins over the variable, the variable over the file. LINKKIT_SIDECAR_ADDRESS is where servers listen and clients
look. What is not understood is an error. Secrets come from files: a flag, variable or key only ever names the file.

Exit codes:
    0    done
    1    the operation failed; standard error says why
    2    wrong flags or configuration, or a start that was refused (state directory, socket)
    3    no sidecar answers
    4    the platform refused the device
    5    the deadline passed
    130  interrupted before the end`

const rootExample = `    linkkit-sidecar dev
    linkkit-sidecar serve --state-dir /var/lib/linkkit-sidecar
    linkkit-sidecar connect --device a1B2c3D4e5F/dev-001 --device-secret-file secret.txt --region cn-shanghai
    linkkit-sidecar events`

// help and usage are code, not templates: a template calls methods by name, and then the linker must keep every method of every
// type. They made the binary a fifth larger.
func help(c *cobra.Command, _ []string) {
	w := &lines{w: c.OutOrStdout()}
	if text := cmp.Or(c.Long, c.Short); text != "" {
		w.write(strings.TrimRightFunc(text, unicode.IsSpace) + "\n\n")
	}
	if c.Runnable() || c.HasSubCommands() {
		w.write(c.UsageString())
	}
}

// flagColumns is how wide lines about flags are.
const flagColumns = 125

func usageOf(c *cobra.Command) error {
	w := &lines{w: c.OutOrStderr()}
	if c.HasAvailableSubCommands() {
		w.printf("Usage:\n    %s COMMAND", c.CommandPath())
	} else {
		w.printf("Usage:\n    %s", c.UseLine())
	}
	if c.HasExample() {
		w.write("\n\nExamples:\n" + c.Example)
	}
	for _, group := range c.Groups() {
		w.commands(c, group.Title, group.ID)
	}
	if c.HasAvailableSubCommands() && !c.AllChildCommandsHaveGroup() {
		w.commands(c, "Commands:", "")
	}
	w.flags("Flags:", c.LocalFlags())
	w.flags("Flags of every command:", c.InheritedFlags())
	if c.HasAvailableSubCommands() {
		w.printf("\n\n\"%s help COMMAND\" tells more about a command.", c.CommandPath())
	}
	w.printf("\n")
	return w.err
}

// commands lists those of a group.
func (l *lines) commands(c *cobra.Command, title, group string) {
	l.printf("\n\n%s", title)
	for _, sub := range c.Commands() {
		if sub.GroupID == group && (sub.IsAvailableCommand() || sub.Name() == "help") {
			l.printf("\n    %-*s %s", sub.NamePadding(), sub.Name(), sub.Short)
		}
	}
}

func (l *lines) flags(title string, set *pflag.FlagSet) {
	if set.HasAvailableFlags() {
		l.write("\n\n" + title + "\n" + strings.TrimRightFunc(set.FlagUsagesWrapped(flagColumns), unicode.IsSpace))
	}
}
