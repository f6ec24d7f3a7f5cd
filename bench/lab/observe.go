package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// ask gets something from the door of an observed sidecar.
func (l *Lab) ask(s *Sidecar, what string) (string, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.Path(s.name+".observe"))
		},
	}}
	request, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://sidecar"+what, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", s.failed(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// Settle has it return memory to the system, as the runtime does by itself within some minutes of rest.
func (l *Lab) Settle(s *Sidecar) error {
	_, err := l.ask(s, "/settle")
	return err
}

// Goroutines counts those of an observed sidecar.
func (l *Lab) Goroutines(s *Sidecar) (float64, error) {
	text, err := l.ask(s, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(text, "\n")
	_, number, found := strings.Cut(first, "total ")
	if !found {
		return 0, fmt.Errorf("a list of goroutines begins with %q", first)
	}
	return strconv.ParseFloat(strings.TrimSpace(number), 64)
}

// Keep writes what an observed sidecar tells of itself to the directory for profiles, if there is one.
func (l *Lab) Keep(s *Sidecar, what, name string) error {
	if l.Profiles == "" {
		return nil
	}
	text, err := l.ask(s, what)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.Profiles, s.name+"."+name), []byte(text), 0o600)
}

// WhileProfiled runs something while a profile of a sidecar's CPU time is taken, if there is a directory for profiles.
func (l *Lab) WhileProfiled(s *Sidecar, run func() (program.Figures, error)) (program.Figures, error) {
	if l.Profiles == "" {
		return run()
	}
	warmUp, counts := l.Time()
	var profiling errgroup.Group
	profiling.Go(func() error {
		return l.Keep(s, fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(warmUp+counts))), "cpu")
	})
	f, err := run()
	return f, errors.Join(err, profiling.Wait())
}
