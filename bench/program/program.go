// Package program has the rivals that are written in Go, and the sidecar's own clients: each is a program of its own, as users have
// them, and does one piece of work.
//
// Any program in any language can be a rival. It gets its Params as one argument of JSON and prints Figures as one line of JSON on its
// standard output. One that others wait for (a server, a receiver, a crowd of devices) first prints a line with what they need to know,
// at the least {"ready":1}, when it can be used; a server then goes on until it is told to stop by SIGTERM.
package program

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// Params say what to do. A program ignores what it has no use for.
type Params struct {
	Broker   string `json:"broker,omitempty"`    // "localhost:PORT", MQTT over TLS
	CAFile   string `json:"ca_file,omitempty"`   // whom to trust
	ClientID string `json:"client_id,omitempty"` // and Username, Password: the login of a rival that is a device itself
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Topic    string `json:"topic,omitempty"`

	Address    string `json:"address,omitempty"` // of a gRPC server, "unix:///PATH"
	ProductKey string `json:"product_key,omitempty"`
	DeviceName string `json:"device_name,omitempty"` // with several Devices: what the name of each begins with
	Devices    int    `json:"devices,omitempty"`
	Stored     bool   `json:"stored,omitempty"` // publish STORED instead of CONFIRMED

	Callers int     `json:"callers,omitempty"` // who each wait for one answer at a time
	Apps    int     `json:"apps,omitempty"`    // connections that the callers share; 0 is 1
	Window  int     `json:"window,omitempty"`  // messages under way without an answer
	Batch   int     `json:"batch,omitempty"`   // messages in one request, at most
	Payload int     `json:"payload,omitempty"` // bytes
	Rate    float64 `json:"rate,omitempty"`    // messages a second; 0 is as many as possible
	Count   int     `json:"count,omitempty"`   // messages or rounds, where time does not end the work
	WarmUp  float64 `json:"warm_up,omitempty"` // seconds that do not count
	Seconds float64 `json:"seconds,omitempty"` // that count
	Dir     string  `json:"dir,omitempty"`     // of files, on the disk that is measured
}

// Figures are what a program has found, by name. The usual ones:
//
//	messages             all, also those of the warm-up
//	messages_per_second  after the warm-up
//	p50_us, p99_us       from handing over to the answer, in microseconds
//	cpu_us_per_message   of the program itself, user and system time by getrusage, after the warm-up
type Figures map[string]float64

// programs by name.
var programs = map[string]func(context.Context, Params, io.Writer) (Figures, error){
	"bare-server":    bareServer,
	"direct-crowd":   directCrowd,
	"direct-publish": directPublish,
	"direct-receive": directReceive,
	"event-delay":    eventDelay,
	"event-readers":  eventReaders,
	"event-server":   eventServer,
	"feed":           feed,
	"fsync":          fsyncAlone,
	"grpc-get":       grpcGet,
	"grpc-publish":   grpcPublish,
	"grpc-receive":   grpcReceive,
	"grpc-stream":    grpcStream,
}

// Run runs the program of this name. Its output is JSON.
func Run(ctx context.Context, name string, params []byte, out io.Writer) error {
	run, known := programs[name]
	if !known {
		return fmt.Errorf("there is no program %q; there are %q", name, slices.Sorted(maps.Keys(programs)))
	}
	var p Params
	if err := json.Unmarshal(params, &p); err != nil {
		return fmt.Errorf("the parameters: %w", err)
	}
	figures, err := run(ctx, p, out)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if figures == nil {
		return nil
	}
	return json.NewEncoder(out).Encode(figures)
}

// say prints the line that others wait for.
func say(out io.Writer, line any) error { return json.NewEncoder(out).Encode(line) }

// ready is that line where nothing else needs to be known.
var ready = map[string]int{"ready": 1}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// device of the sidecar, the i-th where there are several.
func (p Params) device(i int) *pb.Device {
	return &pb.Device{ProductKey: p.ProductKey, DeviceName: p.name(i)}
}

func (p Params) name(i int) string {
	if p.Devices > 1 {
		return fmt.Sprintf("%s%04d", p.DeviceName, i)
	}
	return p.DeviceName
}

// topicOf is a topic of the i-th device's own.
func (p Params) topicOf(i int) string {
	if p.Topic != "" && p.Devices <= 1 {
		return p.Topic
	}
	return "/" + p.ProductKey + "/" + p.name(i) + "/user/bench"
}
