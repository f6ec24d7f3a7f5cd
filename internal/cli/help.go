package cli

import "github.com/spf13/cobra"

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

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

const usageTemplate = `Usage:
    {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if .HasAvailableSubCommands}}{{$cmds := .Commands}}
{{- range $group := .Groups}}

{{.Title}}
{{- range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
    {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}{{end}}
{{- if not .AllChildCommandsHaveGroup}}

Commands:
{{- range $cmds}}{{if (and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help")))}}
    {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 125 | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsagesWrapped 125 | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableSubCommands}}

"{{.CommandPath}} help COMMAND" tells more about a command.
{{- end}}
`
