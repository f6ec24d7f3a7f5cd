package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/admin"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/inbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/outbox"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/server"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trace/otlp"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

const defaultStateDir = "/var/lib/linkkit-sidecar"

// What an outbox may do when it is full.
const (
	outboxReject     = "reject"
	outboxDropOldest = "drop-oldest"
)

type serveFlags struct {
	listen                   []string
	stateDir                 string
	caFile                   string
	socketMode               fs.FileMode
	socketOwner, socketGroup string
	tcp                      server.TCP
	credentialKey            string
	journalEvents            int
	journalBytes             int64
	perMinute, handshakes    int
	drain                    time.Duration
	outbox                   outbox.Options
	outboxFull               string
	inbox                    inbox.Options
	rates                    conn.Rates
	adminAddress             string
	adminExposed             bool
	adminPprof               bool
	metricsPerDevice         int
	printConfig              bool
	stdin                    stdinFlag
	logFlags
}

func (r *run) serveCommand() *cobra.Command {
	var f serveFlags
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "serve",
		Short: "Run the sidecar",
		Long: `Runs the sidecar in the foreground: it brings up the devices that were online before and those of the configuration file,
and answers gRPC. When it does, it prints one line of JSON to standard output with the "address" it listens on; logs go to
standard error.

SIGINT or SIGTERM stop it in good order: streams of events end with a reason, calls under way may finish, each device says
goodbye to the platform, everything is on disk. A second signal stops it at once; nothing that was accepted is lost by that.
SIGUSR1 makes the log tell everything, SIGUSR2 what --log-level says again.

Who may call is settled by the socket's mode, owner and group, and by the policy in the configuration file if there is one.
TCP needs mutual TLS (--tls-cert-file, --tls-key-file, --client-ca-file), or a token (--token-file), or --insecure on a
loopback address.

Exit codes: 0 stopped by a signal; 1 it could not go on; 2 it refused to start, and one line on standard error says why.`,
		Example: `    linkkit-sidecar serve
    linkkit-sidecar serve --config /etc/linkkit-sidecar.yaml
    linkkit-sidecar serve --listen unix:///run/iot/sidecar.sock --socket-group iot-apps --state-dir /data/sidecar
    linkkit-sidecar serve --listen unix:///run/iot/sidecar.sock --listen 127.0.0.1:7443 --token-file token
    linkkit-sidecar serve --config /etc/linkkit-sidecar.yaml --print-config   # what is in force, and why`,
		RunE: r.operation(func(ctx context.Context) error {
			if f.printConfig {
				return r.printConfig(cmd.Flags())
			}
			return r.serve(ctx, &f)
		}),
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&f.listen, "listen", "l", []string{defaultAddress}, "`address` to listen on: unix:///PATH, or HOST:PORT for TCP; repeatable")
	config.Also(flags, "listen", "address")
	flags.StringVar(&f.stateDir, "state-dir", defaultStateDir, "`directory` for credentials, settings and the journal; mode 0700")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `file` with certificates to trust beside the platform's built-in roots, for all devices")
	flags.Var(config.Mode(&f.socketMode, server.DefaultSocketMode), "socket-mode", "`mode` of the Unix socket: who may call")
	flags.StringVar(&f.socketOwner, "socket-owner", "", "`user` who owns the Unix socket; default: the one who starts this")
	flags.StringVar(&f.socketGroup, "socket-group", "", "`group` of the Unix socket; default: that of this process")
	flags.StringVar(&f.tcp.CertFile, "tls-cert-file", "", "PEM `file` with the certificate for TCP")
	flags.StringVar(&f.tcp.KeyFile, "tls-key-file", "", "PEM `file` with its key")
	flags.StringVar(&f.tcp.ClientCAFile, "client-ca-file", "", "PEM `file` with the authorities whose certificates callers on TCP must have")
	flags.StringVar(&f.tcp.TokenFile, "token-file", "", "`file` with the token that callers on TCP must send; mode 0600")
	flags.BoolVar(&f.tcp.Insecure, "insecure", false, "let everybody on this machine call over TCP; loopback only")
	flags.BoolVar(&f.tcp.Reflection, "reflection", false, "serve gRPC reflection on TCP too; on a Unix socket it always is")
	flags.StringVar(&f.credentialKey, "credential-key-file", "", "age identity `file`, mode 0600, that encrypts the stored credentials")
	flags.IntVar(&f.journalEvents, "journal-events", store.DefaultMaxEvents, "how many `events` the journal keeps")
	flags.Int64Var(&f.journalBytes, "journal-bytes", store.DefaultMaxEventBytes, "how many `bytes` of events the journal keeps")
	flags.IntVar(&f.perMinute, "connects-per-minute", 0, "`logins` of one device in any minute, at most; 0 is no limit but the waits between attempts")
	flags.IntVar(&f.handshakes, "handshakes", conn.DefaultHandshakes, "`logins` under way at once, of all devices together")
	flags.IntVar(&f.outbox.MaxMessages, "outbox-messages", outbox.DefaultMaxMessages, "STORED `messages` that a device's outbox holds")
	flags.Int64Var(&f.outbox.MaxBytes, "outbox-bytes", outbox.DefaultMaxBytes, "`bytes` that a device's outbox holds")
	flags.StringVar(&f.outboxFull, "outbox-full", outboxReject, "what `happens` to a STORED message that does not fit: reject, or drop-oldest")
	flags.Var(config.Seconds(&f.outbox.TTL, 0), "outbox-ttl", "`seconds` after which STORED messages that do not say expire; 0 never")
	flags.IntVar(&f.inbox.MaxMessages, "inbox-messages", inbox.DefaultMaxMessages, "`messages` that an inbox holds; beyond it drops the oldest")
	flags.Int64Var(&f.inbox.MaxBytes, "inbox-bytes", inbox.DefaultMaxBytes, "`bytes` that an inbox holds; beyond it drops the oldest")
	flags.Float64Var(&f.rates.MessagesPerSecond, "publish-rate", 0, "`messages` a second that a device sends at most; the platform takes 30; 0 is no limit")
	flags.Float64Var(&f.rates.BytesPerSecond, "publish-bytes-rate", 0, "`bytes` a second that a device sends at most; the platform takes 1048576; 0 is no limit")
	flags.Var(config.Seconds(&f.drain, server.DefaultDrainTimeout), "drain-timeout", "`seconds` that calls under way may take when it stops")
	flags.StringVar(&f.adminAddress, "admin-address", "", "loopback HOST:PORT for /healthz, /readyz and /metrics; default: none")
	flags.BoolVar(&f.adminExposed, "admin-exposed", false, "let --admin-address be reached from other machines: nothing guards it")
	flags.BoolVar(&f.adminPprof, "admin-pprof", false, "serve /debug/pprof on --admin-address, for go tool pprof")
	flags.IntVar(&f.metricsPerDevice, "metrics-per-device", 0, "of how many `devices` /metrics tells by name; the rest is only counted together")
	f.stdin.add(flags)
	f.logFlags.add(cmd, "info")
	flags.BoolVar(&f.printConfig, "print-config", false, "print the settings in force and where each comes from, and exit")
	_ = cmd.MarkFlagDirname("state-dir")
	return cmd
}

// serve runs a sidecar until a signal.
func (r *run) serve(ctx context.Context, f *serveFlags) error {
	log := f.logger(r.Stderr)
	stop := f.obey(log)
	defer stop()
	o, err := r.sidecarOptions(f)
	if err != nil {
		return usage(err)
	}
	o.log = log
	if o.traces, err = otlp.Open(ctx, r.getenv, o.version, log); err != nil {
		return usage(err)
	}
	s, err := openSidecar(o)
	if err != nil {
		return usage(err)
	}
	log.Info("the sidecar starts", "version", o.version, "addresses", s.addresses(), "state_dir", f.stateDir)
	ctx, cancel := f.stdin.watch(ctx, r.Stdin)
	defer cancel()
	err = s.run(ctx, func() error { return r.ready(s) })
	log.Info("the sidecar has stopped")
	return err
}

// ready prints the line that tells scripts that calls are answered.
func (r *run) ready(s *sidecar) error {
	line := struct {
		Address   string   `json:"address"`
		Addresses []string `json:"addresses"`
		Admin     string   `json:"admin,omitempty"`
	}{Address: s.addresses()[0], Addresses: s.addresses()}
	if s.admin != nil {
		line.Admin = s.admin.Address()
	}
	return json.NewEncoder(r.Stdout).Encode(line)
}

// sidecarOptions are what flags and file ask for. Errors are refusals to start.
func (r *run) sidecarOptions(f *serveFlags) (sidecarOptions, error) {
	o := sidecarOptions{
		stateDir: f.stateDir, credentialKey: f.credentialKey, journalEvents: f.journalEvents, journalBytes: f.journalBytes,
		version: r.build().Version, perMinute: f.perMinute, handshakes: f.handshakes,
		admin:  admin.Options{Address: f.adminAddress, Exposed: f.adminExposed, Profiles: f.adminPprof, PerDevice: f.metricsPerDevice},
		outbox: f.outbox, inbox: f.inbox, rates: f.rates,
	}
	switch {
	case f.outboxFull != outboxReject && f.outboxFull != outboxDropOldest:
		return o, fmt.Errorf("--outbox-full must be %s or %s, not %s", outboxReject, outboxDropOldest, quoted(f.outboxFull))
	case f.outbox.MaxMessages < 1 || f.outbox.MaxBytes < 1:
		return o, errors.New("--outbox-messages and --outbox-bytes must be 1 or more")
	case f.inbox.MaxMessages < 1 || f.inbox.MaxBytes < 1:
		return o, errors.New("--inbox-messages and --inbox-bytes must be 1 or more")
	case f.rates.MessagesPerSecond < 0 || f.rates.BytesPerSecond < 0:
		return o, errors.New("--publish-rate and --publish-bytes-rate must be above 0, or 0 for no limit")
	case f.metricsPerDevice < 0 || f.metricsPerDevice > admin.MaxPerDevice:
		return o, fmt.Errorf("--metrics-per-device must be 0 to %d", admin.MaxPerDevice)
	}
	o.outbox.DropOldest = f.outboxFull == outboxDropOldest
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return o, fmt.Errorf("--ca-file: %w", err)
		}
		if o.extraCA, err = trust.Parse(pem); err != nil {
			return o, fmt.Errorf("--ca-file %s: %w", f.caFile, err)
		}
	}
	if len(f.listen) == 0 {
		return o, errors.New("--listen: there is no address to listen on")
	}
	var file config.File
	if r.file != nil {
		file = *r.file
	}
	policy, err := policyOf(file.Policy)
	if err != nil {
		return o, err
	}
	onlyUnix := true
	for _, address := range f.listen {
		onlyUnix = onlyUnix && strings.HasPrefix(address, "unix:")
	}
	for _, address := range f.listen {
		so := server.Options{Address: address, Policy: policy, Limits: limitsOf(file.Limits), DrainTimeout: f.drain}
		isUnix := strings.HasPrefix(address, "unix:")
		if isUnix {
			so.Socket = server.Socket{Mode: f.socketMode, Owner: f.socketOwner, Group: f.socketGroup}
		}
		if !isUnix || onlyUnix { // where nothing else is served, the server says that it has no use for them
			so.TCP = f.tcp
		}
		o.servers = append(o.servers, so)
	}
	o.declared, err = r.declared(file.Devices)
	return o, err
}

// policyOf names the rule that cannot be read.
func policyOf(p *config.Policy) (*server.Policy, error) {
	if p == nil {
		return nil, nil
	}
	rules := make([]server.Rule, 0, len(p.Rules))
	for _, rule := range p.Rules {
		rules = append(rules, server.Rule{Callers: rule.Callers, Operations: rule.Operations, Devices: rule.Devices, Topics: rule.Topics})
		if _, err := server.NewPolicy(rules); err != nil {
			return nil, fmt.Errorf("%s: %w", rule.At, err)
		}
	}
	return server.NewPolicy(rules)
}

func limitsOf(l config.Limits) server.Limits {
	return server.Limits{
		RequestsPerSecond: l.RequestsPerSecond, Streams: l.Streams,
		CallsPerConnection: uint32(l.CallsPerConnection), MessageBytes: l.MessageBytes,
	}
}
