// Package lab has what a comparison runs against: a broker, a sidecar and programs, each a process of its own, on loopback and on
// sockets in a directory that goes away with the lab.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// What devices are called in a lab.
const (
	ProductKey = "a1B2c3D4e5F"
	DeviceName = "dev"
)

// Options are the same for all labs of a run.
type Options struct {
	Sidecar  string // the command under test
	Observed string // the same with a door for profiles
	Self     string // the command that has the programs
	Quick    bool   // as little work as shows that everything works
	Profiles string // a directory for profiles of sidecars, which then are the observed ones; "" takes none
}

// Lab belongs to one comparison. Close it: it ends what it started.
type Lab struct {
	Options
	Dir    string
	Broker *Broker

	ctx       context.Context
	processes []*Process
	closers   []func()
}

// New makes a lab with a running broker.
func New(ctx context.Context, o Options) (*Lab, error) {
	dir, err := os.MkdirTemp("", "linkkit-bench") // short: sockets are in it
	if err != nil {
		return nil, err
	}
	l := &Lab{Options: o, Dir: dir, ctx: ctx}
	if l.Broker, err = l.startBroker(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close ends all processes, the newest first, and removes the directory.
func (l *Lab) Close() {
	for _, c := range slices.Backward(l.closers) {
		c()
	}
	for _, p := range slices.Backward(l.processes) {
		p.Stop()
	}
	_ = os.RemoveAll(l.Dir)
}

// OnClose has f called before the processes end.
func (l *Lab) OnClose(f func()) { l.closers = append(l.closers, f) }

// Time is how long something is measured in this run: its warm-up, and what counts.
func (l *Lab) Time() (warmUp, counts float64) {
	if l.Quick {
		return 0.05, 0.2
	}
	return 0.5, 2
}

// Count is n, or a few in a quick run.
func (l *Lab) Count(n, few int) int {
	if l.Quick {
		return few
	}
	return n
}

// Params are those that programs have in common.
func (l *Lab) Params() program.Params {
	warmUp, counts := l.Time()
	login := l.Broker.login()
	return program.Params{
		Broker: l.Broker.Address(), CAFile: l.Broker.CAFile, ClientID: login.ClientID, Username: login.Username, Password: login.Password.Reveal(),
		ProductKey: ProductKey, DeviceName: DeviceName, Topic: Topic(direct.DeviceName),
		Payload: 256, WarmUp: warmUp, Seconds: counts, Dir: l.Dir,
	}
}

// Command is a program of ours by its name, or a program of others by its command line.
func (l *Lab) Command(p program.Params, name string, more ...string) *exec.Cmd {
	params, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and strings
	}
	args := append(slices.Clone(more), string(params))
	if len(more) == 0 {
		name, args = l.Self, []string{"program", name, string(params)}
	}
	return exec.CommandContext(l.ctx, name, args...)
}

// Run runs a program to its end.
func (l *Lab) Run(c *exec.Cmd) (program.Figures, error) {
	p, err := l.Start(c)
	if err != nil {
		return nil, err
	}
	return p.Figures()
}

// RunOurs is Run for a program of ours.
func (l *Lab) RunOurs(p program.Params, name string) (program.Figures, error) {
	return l.Run(l.Command(p, name))
}

// StartReady starts a command and waits for its first line.
func (l *Lab) StartReady(c *exec.Cmd) (*Process, error) {
	p, err := l.Start(c)
	if err != nil {
		return nil, err
	}
	if err := p.AwaitReady(2 * time.Minute); err != nil {
		return nil, err
	}
	return p, nil
}

// Topic is one of a device's own.
func Topic(name string) string { return "/" + ProductKey + "/" + name + "/user/bench" }

// Path is that of a file in the lab's directory.
func (l *Lab) Path(name string) string { return filepath.Join(l.Dir, name) }

// Await waits until something is so.
func (l *Lab) Await(what string, within time.Duration, is func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(within); ; {
		if ok, err := is(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		} else if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("%s did not come within %s", what, within)
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
	}
}

// Rest waits, as for a process to come to rest; in a quick run not for long.
func (l *Lab) Rest(d time.Duration) error {
	if l.Quick {
		d = min(d, 100*time.Millisecond)
	}
	select {
	case <-time.After(d):
		return nil
	case <-l.ctx.Done():
		return errors.New("the run was ended")
	}
}

// Context ends with the run.
func (l *Lab) Context() context.Context { return l.ctx }
