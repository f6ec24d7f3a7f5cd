package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// settings are the flags of a small program.
type settings struct {
	stateDir, level string
	listen          []string
	port            uint16
	strict          bool
	timeout         time.Duration
	secretFile      string
}

func newSettings() (*settings, *pflag.FlagSet, Known) {
	s := &settings{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.StringVar(&s.stateDir, "state-dir", "/default", "")
	fs.StringSliceVar(&s.listen, "listen", []string{"unix:///default"}, "")
	Also(fs, "listen", "address")
	fs.Uint16Var(&s.port, "port", 0, "")
	fs.BoolVar(&s.strict, "strict", false, "")
	fs.Var(Choice(&s.level, "info", []string{"info", "very-loud"}), "log-level", "")
	fs.Var(Seconds(&s.timeout, time.Second), "timeout", "")
	fs.StringVar(&s.secretFile, "device-secret-file", "", "")
	known := Known{"address": true, "of-another-command": true} // such as a client's
	known.Add(fs)
	return s, fs, known
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFlagWinsOverAVariableOverTheFileOverTheDefault(t *testing.T) {
	const file = "state_dir: /file\nlisten: unix:///file\ntimeout: 5\n"
	for _, row := range []struct {
		args, environ []string
		file          string
		want, origin  string
	}{
		{[]string{"--state-dir=/flag"}, []string{"LINKKIT_SIDECAR_STATE_DIR=/variable"}, file, "/flag", "flag"},
		{nil, []string{"LINKKIT_SIDECAR_STATE_DIR=/variable"}, file, "/variable", "LINKKIT_SIDECAR_STATE_DIR"},
		{nil, []string{"LINKKIT_SIDECAR_STATE_DIR="}, file, "/file", ":1"}, // empty is not set
		{nil, nil, file, "/file", ":1"},
		{nil, nil, "# nothing\n", "/default", ""},
		{nil, nil, "", "/default", ""},
	} {
		s, fs, known := newSettings()
		if err := fs.Parse(row.args); err != nil {
			t.Fatal(err)
		}
		f, err := Read(write(t, row.file), known)
		if err != nil {
			t.Fatal(err)
		}
		origin, err := Apply(fs, f, row.environ, known)
		if err != nil || s.stateDir != row.want || !strings.HasSuffix(origin["state-dir"], row.origin) || (row.origin == "") != (origin["state-dir"] == "") {
			t.Errorf("%v %v %q: %q from %q, %v; want %q from %q", row.args, row.environ, row.file, s.stateDir, origin["state-dir"], err, row.want, row.origin)
		}
	}
}

func TestAFlagsOtherNameCountsWhenItsOwnIsNotGiven(t *testing.T) {
	for _, row := range []struct {
		environ []string
		file    string
		want    []string
	}{
		{[]string{"LINKKIT_SIDECAR_ADDRESS=unix:///a"}, "listen: unix:///file\n", []string{"unix:///a"}},
		{[]string{"LINKKIT_SIDECAR_ADDRESS=unix:///a", "LINKKIT_SIDECAR_LISTEN=unix:///l,127.0.0.1:0"}, "", []string{"unix:///l", "127.0.0.1:0"}},
		{nil, "address: unix:///a\n", []string{"unix:///a"}},
		{nil, "listen: [unix:///l, '127.0.0.1:0']\naddress: unix:///a\n", []string{"unix:///l", "127.0.0.1:0"}},
		{nil, "", []string{"unix:///default"}},
	} {
		s, fs, known := newSettings()
		f, err := Read(write(t, row.file), known)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(fs, f, row.environ, known); err != nil || !reflect.DeepEqual(s.listen, row.want) {
			t.Errorf("%v %q: %v, %v; want %v", row.environ, row.file, s.listen, err, row.want)
		}
	}
}

func TestAVariableThatSetsNothingIsAnError(t *testing.T) {
	for _, row := range []struct{ variable, want string }{
		{"LINKKIT_SIDECAR_STATEDIR=/x", "did you mean LINKKIT_SIDECAR_STATE_DIR?"},
		{"LINKKIT_SIDECAR_WHATEVER_ELSE=hunter2", "LINKKIT_SIDECAR_WHATEVER_ELSE sets nothing"},
		{"LINKKIT_SIDECAR_DEVICE_SECRET=hunter2", "name that with LINKKIT_SIDECAR_DEVICE_SECRET_FILE"},
		{"LINKKIT_SIDECAR_TIMEOUT=soon", `the environment variable LINKKIT_SIDECAR_TIMEOUT: "soon": must be whole seconds`},
		{"LINKKIT_SIDECAR_LOG_LEVEL=loud", `LINKKIT_SIDECAR_LOG_LEVEL: "loud": must be one of info, very-loud`},
		{"LINKKIT_SIDECAR_STRICT=maybe", "LINKKIT_SIDECAR_STRICT"},
	} {
		_, fs, known := newSettings()
		_, err := Apply(fs, nil, []string{row.variable}, known)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", row.variable, err, row.want)
		}
	}
}

func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	s, fs, known := newSettings()
	_, err := Apply(fs, nil, []string{
		"PATH=/bin", "LINKKIT_SIDECARS=3", "LINKKIT_SIDECAR_OF_ANOTHER_COMMAND=x",
		// What Kubernetes gives to a container beside a Service named linkkit-sidecar.
		"LINKKIT_SIDECAR_SERVICE_HOST=10.0.0.1", "LINKKIT_SIDECAR_SERVICE_PORT=443", "LINKKIT_SIDECAR_SERVICE_PORT_GRPC=443",
		"LINKKIT_SIDECAR_PORT=tcp://10.0.0.1:443", "LINKKIT_SIDECAR_PORT_443_TCP=tcp://10.0.0.1:443",
		"LINKKIT_SIDECAR_PORT_443_TCP_ADDR=10.0.0.1", "LINKKIT_SIDECAR_PORT_443_TCP_PROTO=tcp",
		"LINKKIT_SIDECAR_BINARY=/usr/bin/linkkit-sidecar", // what libraries that start the command find it by
	}, known)
	if err != nil || s.port != 0 {
		t.Errorf("port %d, %v", s.port, err)
	}
}

func TestMistakesInTheFileAreNamedWithTheirLine(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"\nstat_dir: /x\n", ":2: stat_dir: there is no such key; did you mean state_dir?"},
		{"state-dir: /x\n", ":1: state-dir: there is no such key; did you mean state_dir?"},
		{"config: other.yaml\n", ":1: config: there is no such key"},
		{"device_secret: hunter2\n", ":1: device_secret: there is no such key; secrets come from files only: put it into one, and name that with device_secret_file"},
		{"port: 70000\n", `:1: port: "70000": `},
		{"port: [1, 2]\n", ":1: port: takes one value, not 2"},
		{"\n\nport:\n", ":3: port: has no value"},
		{"port:\n  x: 1\n", ":2: port: must be a single value"},
		{"strict: maybe\n", `:1: strict: "maybe"`},
		{"log_level: loud\n", `:1: log_level: "loud": must be one of info, very-loud`},
		{"state_dir: /x\nport: 1\nstate_dir: /y\n", ":3: state_dir: is given twice, first on line 1"},
		{"- a\n", ":1: the file: must be a mapping"},
		{"a: [\n", ":1: did not find"},
		{"state_dir: &port /data\n*port : 5\n", ":2: the file: must have plain words as keys"},
		{"port: 1\nstate_dir: *none\n", ":2: unknown anchor 'none'"},
		{"port: 1\nstate_dir: \x01\n", ":2: control characters"},
		{"port: 1\nstate_dir: \xff\n", ":2: invalid leading UTF-8"},
		{"port: 1\n---\nport: 2\n", "a second document begins here"},
		{"devices: {}\n", `:1: devices: must be a list`},
		{"devices:\n  - product_key: a1\n", `:2: devices[0]: `},
		{"devices:\n  - product_key: a1\n    device_name: d|x\n", `:2: devices[0]: `},
		{"devices:\n  - product_key: a1\n    device_name: d\n    prot: 1\n", `:4: devices[0].prot: there is no such key; known are `},
		{"devices:\n  - product_key: a1\n    device_name: d\n    device_secret: hunter2\n", `:4: devices[0].device_secret: secrets come from files only`},
		{"devices:\n  - {product_key: a1, device_name: d}\n  - {product_key: a1, device_name: d}\n", `:3: devices[1]: a1/d is declared twice, first at `},
		{"devices:\n  - product_key: a1\n    device_name: d\n    endpoint:\n      port: 0\n", `:5: devices[0].endpoint.port: "0" must be a whole number from 1 to 65535`},
		{"devices:\n  - product_key: a1\n    device_name: d\n    tls:\n      plain_tcp: yes\n", `:5: devices[0].tls.plain_tcp: "yes" must be true or false`},
		{"devices:\n  - product_key: a1\n    device_name: d\n    mqtt: {keep_alive: 1.5s}\n", `:4: devices[0].mqtt.keep_alive: "1.5s" must be whole seconds`},
		{"devices:\n  - product_key: a1\n    device_name: d\n    mqtt: {protocol: '5'}\n", `:4: devices[0].mqtt.protocol: "5" must be one of 3.1.1, 3.1`},
		{"devices:\n  - product_key: a1\n    device_name: d\n    network_interfaces:\n      - {wifi: {mac: x}, ethernet: {mac: y}}\n", `:5: devices[0].network_interfaces[0]: must be one of`},
		{"policy:\n  - callers: [\"*\"]\n    rights: all\n", `:3: policy[0].rights: there is no such key; known are callers, devices, operations, topics`},
		{"policy:\n  - callers: everybody\n", `:2: policy[0].callers: must be a list`},
		{"limits:\n  streams: many\n", `:2: limits.streams: "many" must be a whole number`},
		{"limits: {requests_per_second: 0}\n", `:1: limits.requests_per_second: "0" must be a number above 0`},
	} {
		_, fs, known := newSettings()
		path := write(t, row.text)
		f, err := Read(path, known)
		if err == nil {
			_, err = Apply(fs, f, nil, known)
		}
		placed, ok := errors.AsType[*Error](err)
		if !ok || placed.Path != path || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", row.text, err, row.want)
		}
	}
}

func TestAFileOfEverything(t *testing.T) {
	const text = `
state_dir: /data
of_another_command: 12
log_level: very_loud
defaults: &sandbox
`
	_, _, known := newSettings()
	if _, err := Read(write(t, text), known); err == nil || !strings.Contains(err.Error(), ":5: defaults") {
		t.Errorf("an anchor needs a key that exists: %v", err)
	}
	path := write(t, `
state_dir: /data
log_level: very_loud
timeout: 1m30s
devices:
  - product_key: 0012345        # keeps its zeros
    device_name: dev-001
    device_secret_file: /run/secrets/dev-001
    endpoint: &sandbox {host: localhost, port: 8883}
    dial_address: 127.0.0.1
    tls: {ca_file: ca.pem, system_roots: true, skip_hostname_verification: true}
    mqtt: {keep_alive: 300, clean_session: false, protocol: "3.1", max_inflight: 5, max_queued: 9, connect_timeout: 10s}
    reconnect: {min_delay: 2, max_delay: 1m}
    sign_method: hmacsha1
    network_interfaces:
      - ethernet: {mac: "03:AC:DE:FF:00:32"}
      - cellular: {imei: 860000000000001}
  - product_key: a1
    device_name: dev-002
    endpoint: *sandbox
policy:
  - callers: ["uid:1000", "certificate:app-*"]
    operations: [read, Connect]
    devices: ["a1/*"]
    topics: ["/{product_key}/{device_name}/user/#"]
limits: {requests_per_second: 10.5, streams: -1, calls_per_connection: 7, message_bytes: 65536}
`)
	s, fs, known := newSettings()
	f, err := Read(path, known)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(fs, f, nil, known); err != nil || s.stateDir != "/data" || s.level != "very-loud" || s.timeout != 90*time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	no := false
	want := File{
		Path: path,
		Devices: []Device{{
			At: path + ":6", ID: device.ID{ProductKey: "0012345", DeviceName: "dev-001"}, DeviceSecretFile: "/run/secrets/dev-001",
			Endpoint: Endpoint{Host: "localhost", Port: 8883}, DialAddress: "127.0.0.1",
			TLS:       TLS{CAFile: "ca.pem", SystemRoots: true, SkipHostnameVerification: true},
			MQTT:      MQTT{5 * time.Minute, &no, "3.1", 5, 9, 10 * time.Second},
			Reconnect: Reconnect{2 * time.Second, time.Minute}, SignMethod: "hmacsha1",
			Interfaces: []Interface{{Kind: "ethernet", MAC: "03:AC:DE:FF:00:32"}, {Kind: "cellular", IMEI: "860000000000001"}},
		}, {At: path + ":18", ID: device.ID{ProductKey: "a1", DeviceName: "dev-002"}, Endpoint: Endpoint{Host: "localhost", Port: 8883}}},
		Policy: &Policy{[]Rule{{path + ":22", []string{"uid:1000", "certificate:app-*"}, []string{"read", "Connect"}, []string{"a1/*"}, []string{"/{product_key}/{device_name}/user/#"}}}},
		Limits: Limits{10.5, -1, 7, 65536},
	}
	f.values = nil
	if !reflect.DeepEqual(*f, want) {
		t.Errorf("got  %+v\nwant %+v", *f, want)
	}
}

func TestSecretsComeFromFilesAndAreNeverQuoted(t *testing.T) {
	for _, row := range []struct{ content, want, problem string }{
		{"hunter2", "hunter2", ""},
		{"hunter2\n", "hunter2", ""},
		{"hunter2\r\n", "hunter2", ""},
		{"", "", "is empty"},
		{"\n", "", "is empty"},
		{"hunter2\nsecret3\n", "", "alone, on one line"},
		{" hunter2", "", "without spaces"},
		{strings.Repeat("hunter2", 1000), "", "more than 4096 bytes"},
	} {
		for _, path := range []string{write(t, row.content), "-"} {
			s := &Secrets{Stdin: strings.NewReader(row.content)}
			got, err := s.Read(path)
			if row.problem == "" && (err != nil || got.Reveal() != row.want) {
				t.Errorf("%q: %v", row.content, err)
			}
			if row.problem != "" && (err == nil || !strings.Contains(err.Error(), row.problem) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("%q: %v, want %q", row.content, err, row.problem)
			}
		}
	}
	s := &Secrets{Stdin: strings.NewReader("one\n")}
	if _, err := s.Read("-"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("-"); err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("standard input was read twice: %v", err)
	}
	if _, err := s.Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSecondsAndModes(t *testing.T) {
	for _, row := range []struct {
		text string
		want time.Duration // below 0 is an error
	}{
		{"0", 0},
		{"90", 90 * time.Second},
		{"1m30s", 90 * time.Second},
		{"2h", 2 * time.Hour},
		{"", -1},
		{"-1", -1},
		{"1.5", -1},
		{"1500ms", -1},
		{"99999999999999999999", -1},
		{"9000h", -1},
	} {
		got, err := ParseSeconds(row.text)
		if (err != nil) != (row.want < 0) || err == nil && got != row.want {
			t.Errorf("%q is %v, %v", row.text, got, err)
		}
	}
	var m os.FileMode
	v := Mode(&m, 0o660)
	for text, want := range map[string]os.FileMode{"0660": 0o660, "600": 0o600, "0o777": 0o777} {
		if err := v.Set(text); err != nil || m != want {
			t.Errorf("%q is %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"", "rw", "1777", "888"} {
		if v.Set(text) == nil {
			t.Errorf("%q is a mode", text)
		}
	}
}
