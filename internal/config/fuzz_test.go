package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// FuzzFile: whatever stands in the file, what is wrong has a line, and what is taken is what another reader of YAML finds in it.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"state_dir: /data\nlog_level: very_loud\ntimeout: 1m30s\nlisten: [unix:///l, '127.0.0.1:0']\n",
		"devices:\n  - product_key: 0012345\n    device_name: d\n    endpoint: &s {host: localhost, port: 8883}\n    mqtt: {keep_alive: 300, clean_session: false}\n" +
			"  - {product_key: a1, device_name: e, endpoint: *s, network_interfaces: [{ethernet: {mac: x}}]}\n",
		"policy:\n  - callers: [\"uid:1000\"]\n    operations: [read]\n    devices: [\"a1/*\"]\nlimits: {requests_per_second: 10.5, streams: -1}\n",
		"\n\nport:\n", "- a\n", "a: [\n", "a: [", "port: 1\n---\nport: 2\n", "# nothing\n", "", "\x00", "port: \xff", "state_dir: *none", "\n\n\xef", "%YAML 9\n---\n",
		"state_dir: &port /data\n*port : 5\n", "? [port]\n: 5\n", "port: &a [*a]\n", "<<: {port: 1}\n", "port: !!null 1\n", "state_dir: !!binary aGk=\n",
		"\ufeffport: 1\n", "port: 1\r\nport: 2\r\n", "state_dir: |\n  a\n  b\n", "'port': 1\n", "port: 1 # x\n# y\n",
	} {
		f.Add(seed)
	}
	for _, name := range examples(f) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const path = "c.yaml"
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text), "\n") + 1
		_, fs, known := newSettings()
		file, err := parse(path, strings.NewReader(text), known)
		if err == nil {
			_, err = Apply(fs, file, nil, known)
		}
		if err != nil {
			placed, ok := errors.AsType[*Error](err)
			if !ok || placed.Path != path || placed.Line < 1 || placed.Line > lines || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s:%d: ", path, placed.Line)) {
				t.Fatalf("%q: %T %v in a file of %d lines", text, err, err, lines)
			}
			return
		}
		seen := map[device.ID]bool{}
		for _, d := range file.Devices {
			if err := d.ID.Validate(); err != nil || seen[d.ID] || !within(d.At, path, lines) {
				t.Fatalf("%q: device %+v, %v", text, d, err)
			}
			seen[d.ID] = true
		}
		if file.Policy != nil {
			for _, r := range file.Policy.Rules {
				if !within(r.At, path, lines) {
					t.Fatalf("%q: rule %+v", text, r)
				}
			}
		}
		var other map[string]any
		if err := yaml.Unmarshal([]byte(text), &other); err != nil {
			return // a value that is not of the type that its tag says, which the library looks at and we do not
		}
		keys := slices.Sorted(maps.Keys(file.values))
		for _, key := range slices.Sorted(maps.Keys(other)) {
			if key != "devices" && key != "policy" && key != "limits" && !slices.Contains(keys, key) {
				t.Fatalf("%q: %q was left out", text, key)
			}
		}
		for _, key := range keys {
			if _, there := other[key]; !there {
				t.Fatalf("%q: %q is not in it", text, key)
			}
		}
		if devices, _ := other["devices"].([]any); len(devices) != len(file.Devices) {
			t.Fatalf("%q: %d devices of %d", text, len(file.Devices), len(devices))
		}
	})
}

// within reports whether at is "PATH:LINE" with a line of the file.
func within(at, path string, lines int) bool {
	line, err := strconv.Atoi(strings.TrimPrefix(at, path+":"))
	return err == nil && line >= 1 && line <= lines
}

// examples are the files that the documentation shows.
func examples(f *testing.F) []string {
	f.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		f.Fatal(err)
	}
	var all []string
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(block, "```")
		all = append(all, example)
	}
	if len(all) == 0 {
		f.Fatal("there are no examples any more")
	}
	return all
}

func FuzzSecretFile(f *testing.F) {
	for _, seed := range []string{"hunter2", "hunter2\n", "hunter2\r\n", "", "\n", "a\nb", " a", "\xff", strings.Repeat("x", maxSecret+1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &Secrets{Stdin: strings.NewReader(text)}
		got, err := s.Read("-")
		if err != nil {
			if !got.IsZero() || len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		secret := got.Reveal()
		rest, begins := strings.CutPrefix(text, secret)
		if secret == "" || len(secret) > maxSecret || !begins || strings.Trim(rest, "\r\n") != "" || len(rest) > len("\r\n") || strings.ContainsAny(secret, " \t\r\n\x00") {
			t.Fatalf("%q was read as %q", text, secret)
		}
	})
}

func FuzzParseSeconds(f *testing.F) {
	for _, seed := range []string{"0", "90", "1m30s", "1.5s", "-1", "1e3", "0x10", "8784h", "8785h", "+5", "1_000", "9223372036854775807ns", "00010"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseSeconds(s)
		if err != nil {
			return
		}
		again, err := ParseSeconds(d.String())
		if err != nil || again != d || d < 0 || d > longest {
			t.Fatalf("%q is %s, which is read as %s, %v", s, d, again, err)
		}
	})
}
