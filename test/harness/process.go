package harness

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Running is a running command.
type Running struct {
	*exec.Cmd
	// Ready is the ready line of a server: the first line on its standard output.
	Ready map[string]string
	// Exited is closed when it has ended; Err then says how.
	Exited chan struct{}
	Err    error

	t              *testing.T
	stdout, stderr *os.File
	dismissed      bool
}

// Launch starts the command under test as a server and waits for its ready line.
func Launch(t *testing.T, args ...string) *Running {
	t.Helper()
	p := Begin(t, exec.CommandContext(t.Context(), Binary, args...))
	p.AwaitReady()
	return p
}

// Begin starts a command whose output goes to files, which the test may read at any time. It is killed when the test ends.
func Begin(t *testing.T, c *exec.Cmd) *Running {
	t.Helper()
	p := &Running{Cmd: c, t: t, Exited: make(chan struct{})}
	dir := t.TempDir()
	for name, file := range map[string]**os.File{"stdout": &p.stdout, "stderr": &p.stderr} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		*file = f
	}
	c.Stdout, c.Stderr = p.stdout, p.stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Err = c.Wait()
		close(p.Exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if p.dismissed {
			return
		}
		if t.Failed() {
			t.Logf("%s\n%s%s", c, p.Out(), p.Log())
		}
		_, _ = p.stdout.Close(), p.stderr.Close()
	})
	return p
}

// AwaitReady waits for the ready line.
func (p *Running) AwaitReady() {
	p.t.Helper()
	Eventually(p.t, "the ready line of "+p.String(), func() bool {
		select {
		case <-p.Exited:
			p.t.Fatalf("%s ended: %v\n%s", p.Cmd, p.Err, p.Log())
		default:
		}
		line, _, whole := strings.Cut(p.Out(), "\n")
		var said map[string]any
		if !whole || json.Unmarshal([]byte(line), &said) != nil {
			return false
		}
		p.Ready = map[string]string{}
		for key, value := range said {
			if text, ok := value.(string); ok {
				p.Ready[key] = text
			}
		}
		return true
	})
}

// Out is what it has written to standard output so far.
func (p *Running) Out() string { return content(p.stdout) }

// Log is what it has written to standard error so far.
func (p *Running) Log() string { return content(p.stderr) }

func content(f *os.File) string {
	data, _ := os.ReadFile(f.Name()) // an unreadable file shows as an empty one, which no test takes for an answer
	return string(data)
}

// SocketPath is the path of a Unix socket in the ready line.
func (p *Running) SocketPath(name string) string { return strings.TrimPrefix(p.Ready[name], "unix://") }

// Kill ends it as kill -9 does.
func (p *Running) Kill() {
	_ = p.Process.Kill()
	<-p.Exited
}

// Terminate ends it as an operator does and returns its exit code.
func (p *Running) Terminate() int {
	_ = p.Process.Signal(syscall.SIGTERM)
	<-p.Exited
	if exit, failed := errors.AsType[*exec.ExitError](p.Err); failed {
		return exit.ExitCode()
	}
	return 0
}

// Dismiss lets go of a process that has ended as it should: the test does not show what it said, and keeps no files of it.
func (p *Running) Dismiss() {
	<-p.Exited
	p.dismissed = true
	_, _ = p.stdout.Close(), p.stderr.Close()
}

// Eventually waits for what has to come, and fails the test when it does not.
func Eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come within a minute", what)
		}
	}
}
