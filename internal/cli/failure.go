package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is an error that a sidecar answered, with all that it said.
type failure struct {
	Code     string            `json:"code"` // of gRPC, such as FAILED_PRECONDITION
	Reason   string            `json:"reason,omitempty"`
	Message  string            `json:"message"`
	Fields   []wrongField      `json:"fields,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Retry    string            `json:"retry_delay,omitempty"` // when it makes sense to ask again, such as "5s"

	status *status.Status
}

type wrongField struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func (f *failure) Error() string { return f.Message }

// failureOf reads the error of a call. Its status is nil when err is none.
func failureOf(err error) *failure {
	s, ok := status.FromError(err)
	if !ok {
		return &failure{Message: err.Error()}
	}
	f := &failure{Code: codeName(s.Code()), Message: s.Message(), status: s}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			f.Reason, f.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				f.Fields = append(f.Fields, wrongField{v.GetField(), v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			f.Retry = d.GetRetryDelay().AsDuration().Round(time.Millisecond).String()
		}
	}
	if f.status.Code() == codes.DeadlineExceeded {
		f.Message = "no outcome within --timeout: " + f.Message
	}
	return f
}

// codeName is the code as its name in the gRPC specification.
func codeName(c codes.Code) string {
	var name strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' && c != codes.OK {
			name.WriteByte('_')
		}
		name.WriteRune(r)
	}
	return strings.ToUpper(name.String())
}

// code is the exit code that tells the failure to a script.
func (f *failure) code() int {
	switch {
	case strings.HasPrefix(f.Reason, "REFUSED_"), f.Reason == "REGISTRATION_REFUSED":
		return exitRefused
	case f.status.Code() == codes.DeadlineExceeded:
		return exitTimeout
	case f.status.Code() == codes.Unavailable && (f.Reason == "" || f.Reason == "SHUTTING_DOWN"):
		return exitUnreachable
	}
	return exitFailed
}

// unreachable says why no sidecar answers, and what to do.
func unreachable(address string, dialled error, otherwise string) string {
	switch {
	case errors.Is(dialled, fs.ErrNotExist):
		return fmt.Sprintf("no sidecar at %s: there is no such socket; start one with `linkkit-sidecar serve`, or give --address", address)
	case errors.Is(dialled, syscall.ECONNREFUSED):
		return fmt.Sprintf("no sidecar at %s: nobody listens; start one with `linkkit-sidecar serve`, or give --address", address)
	case errors.Is(dialled, fs.ErrPermission):
		return fmt.Sprintf("this user may not use %s: the socket's mode and group decide (`ls -l`); join the group, or see --socket-mode and --socket-group of `linkkit-sidecar serve`", address)
	case dialled != nil:
		return fmt.Sprintf("no sidecar at %s: %v", address, dialled)
	}
	return fmt.Sprintf("the sidecar at %s does not answer: %s", address, otherwise)
}

// complain tells an error on standard error: for people, or as one line of JSON where --output says so.
func (r *run) complain(err error) {
	f, answered := errors.AsType[*failure](err)
	if !answered {
		f = &failure{Message: err.Error()}
	}
	if r.output == outputJSON && r.begun {
		_ = json.NewEncoder(r.Stderr).Encode(map[string]*failure{"error": f}) //nolint:errchkjson // texts and numbers; where would one say that it failed
		return
	}
	_, _ = fmt.Fprintln(r.Stderr, "linkkit-sidecar: "+printable(err.Error()))
	if answered {
		f.details(r.Stderr)
	}
}

// details are what a program would look at: people need them for the manual and for bug reports.
func (f *failure) details(w io.Writer) {
	line := func(name, text string) { _, _ = fmt.Fprintf(w, "    %-18s %s\n", name, printable(text)) }
	if f.Reason != "" {
		line("reason", f.Reason)
	}
	for _, field := range f.Fields {
		line("field", field.Field+": "+field.Description)
	}
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		if text := f.Metadata[key]; !strings.Contains(f.Message, text) || key == "connack_code" {
			line(key, text)
		}
	}
	if f.Retry != "" {
		line("worth trying", "again in "+f.Retry)
	}
}
