package otlp

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestTracesAreExportedOnlyWhenTheEnvironmentAsks(t *testing.T) {
	for _, c := range []struct {
		environment    string // NAME=VALUE, by blanks
		protocol, says string
	}{
		{"", "", ""},
		{"OTEL_SERVICE_NAME=x OTEL_TRACES_SAMPLER=always_on", "", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", protocolHTTP, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/v1/traces", protocolHTTP, ""},
		{"OTEL_TRACES_EXPORTER=otlp", protocolHTTP, ""},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc", protocolGRPC, ""},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", protocolHTTP, ""},
		{"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "", ""},
		{"OTEL_SDK_DISABLED=True OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "", ""},
		{"OTEL_SDK_DISABLED=false OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", protocolHTTP, ""},
		{"OTEL_TRACES_EXPORTER=zipkin", "", "zipkin"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "", "http/json"},
	} {
		environment := map[string]string{}
		for entry := range strings.FieldsSeq(c.environment) {
			name, value, _ := strings.Cut(entry, "=")
			environment[name] = value
		}
		var log bytes.Buffer
		protocol, wanted := choose(func(name string) string { return environment[name] }, slog.New(slog.NewTextHandler(&log, nil)))
		if protocol != c.protocol || wanted != (c.protocol != "") {
			t.Errorf("%s: %q, %v, want %q", c.environment, protocol, wanted, c.protocol)
		}
		if got := log.String(); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
			t.Errorf("%s: the log says %q, want %q", c.environment, got, c.says)
		}
	}
}
