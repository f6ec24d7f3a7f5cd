package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// Process is a running command. Its output goes to files, so that nobody needs to read it while time is measured.
type Process struct {
	*exec.Cmd
	// Ready is its first line, after AwaitReady.
	Ready map[string]any
	// Began is when it was started; ReadyAfter how long its first line took.
	Began      time.Time
	ReadyAfter time.Duration

	stdout, stderr string
	exited         chan struct{}
	err            error
}

// Start starts a command.
func (l *Lab) Start(c *exec.Cmd) (*Process, error) {
	n := len(l.processes)
	p := &Process{Cmd: c, stdout: l.Path(fmt.Sprint(n, ".out")), stderr: l.Path(fmt.Sprint(n, ".err")), exited: make(chan struct{})}
	out, err := os.Create(p.stdout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	complaints, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = complaints.Close() }()
	c.Stdout, c.Stderr, c.Cancel = out, complaints, func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	p.Began = time.Now()
	if err := c.Start(); err != nil {
		return nil, err
	}
	l.processes = append(l.processes, p)
	go func() {
		p.err = c.Wait()
		close(p.exited)
	}()
	return p, nil
}

// AwaitReady waits for the first line.
func (p *Process) AwaitReady(within time.Duration) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(within); ; {
		if line, _, whole := strings.Cut(read(p.stdout), "\n"); whole {
			p.ReadyAfter = time.Since(p.Began)
			if err := json.Unmarshal([]byte(line), &p.Ready); err != nil {
				return p.failed(fmt.Errorf("the first line is %q: %w", line, err))
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return p.failed(errors.New("it has ended before it was ready"))
		case <-late:
			return p.failed(fmt.Errorf("it was not ready within %s", within))
		}
	}
}

// Say is a text of the first line.
func (p *Process) Say(name string) string {
	text, _ := p.Ready[name].(string) // what is absent shows where it is used
	return text
}

// Figures waits for the end of a program and reads its last line.
func (p *Process) Figures() (program.Figures, error) {
	<-p.exited
	if p.err != nil {
		return nil, p.failed(p.err)
	}
	lines := strings.Split(strings.TrimSpace(read(p.stdout)), "\n")
	var f program.Figures
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &f); err != nil {
		return nil, p.failed(err)
	}
	return f, nil
}

func (p *Process) failed(err error) error {
	said := strings.TrimSpace(read(p.stderr))
	if len(said) > 2000 {
		said = "…" + said[len(said)-2000:]
	}
	return fmt.Errorf("%s: %w\n%s", strings.Join(p.Args, " "), err, said)
}

// Stop ends it as an operator does, and as kill -9 does when that takes too long.
func (p *Process) Stop() {
	_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.Kill()
	}
}

// Kill ends it as kill -9 does.
func (p *Process) Kill() {
	_ = p.Process.Kill()
	<-p.exited
}

// CPU is what it has used so far, user and system time.
func (p *Process) CPU() (time.Duration, error) {
	stat := read(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	_, after, _ := strings.Cut(stat, ") ") // its name is in parentheses and may have anything in it
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, p.failed(errors.New("its CPU time cannot be read"))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil // the kernel tells hundredths, whatever it counts in
}

// PSS is its memory in bytes, with its share of pages that others have too.
func (p *Process) PSS() (float64, error) {
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/smaps_rollup", p.Process.Pid))) {
		if kib, found := strings.CutPrefix(line, "Pss:"); found {
			n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 64)
			return n * 1024, err
		}
	}
	return 0, p.failed(errors.New("its memory cannot be read"))
}

func read(file string) string {
	data, _ := os.ReadFile(file) // what cannot be read is missed by whoever looks for something in it
	return string(bytes.ToValidUTF8(data, nil))
}
