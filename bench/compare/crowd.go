package compare

import (
	"syscall"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// atOnce is how many logins are under way at once, on both sides: the sidecar's default.
const atOnce = 32

// idleMemory brings devices online, has the process return what it does not need, and looks at what is left. The sidecar is the
// observed one, for this and to count goroutines.
func idleMemory(l *lab.Lab) ([]Side, error) {
	devices := l.Count(3000, 20)
	state, err := l.Prepare(devices)
	if err != nil {
		return nil, err
	}
	none, err := l.Prepare(0)
	if err != nil {
		return nil, err
	}
	return []Side{
		{"direct", func() (program.Figures, error) {
			return perDevice(devices, func(n int) (crowd, error) { return directCrowd(l, n) })
		}},
		{"sidecar", func() (program.Figures, error) {
			return perDevice(devices, func(n int) (crowd, error) {
				if n == 0 {
					return sidecarCrowd(l, none, 0)
				}
				return sidecarCrowd(l, state, n)
			})
		}},
	}, nil
}

// crowd is what was seen of a process that keeps devices online.
type crowd struct{ pss, goroutines float64 }

// perDevice is what each device adds to a process that has none.
func perDevice(devices int, look func(devices int) (crowd, error)) (program.Figures, error) {
	none, err := look(0)
	if err != nil {
		return nil, err
	}
	all, err := look(devices)
	if err != nil {
		return nil, err
	}
	n := float64(devices)
	return program.Figures{
		"pss_mb": all.pss / (1 << 20), "pss_mb_without_devices": none.pss / (1 << 20), "kib_per_device": (all.pss - none.pss) / n / 1024,
		"goroutines_per_device": (all.goroutines - none.goroutines) / n,
	}, nil
}

func directCrowd(l *lab.Lab, devices int) (c crowd, err error) {
	p := l.Params()
	p.Devices, p.Callers = devices, atOnce
	process, err := l.StartReady(l.Command(p, "direct-crowd"))
	if err != nil {
		return c, err
	}
	defer process.Stop()
	if err := l.Rest(2 * time.Second); err != nil {
		return c, err
	}
	if err := process.Process.Signal(syscall.SIGUSR1); err != nil {
		return c, err
	}
	if err := l.Rest(time.Second); err != nil {
		return c, err
	}
	c.pss, err = process.PSS()
	return c, err
}

func sidecarCrowd(l *lab.Lab, state string, devices int) (c crowd, err error) {
	s, err := l.StartWith(state, devices, lab.SidecarOptions{Name: "crowd", Observed: true})
	if err != nil {
		return c, err
	}
	defer s.Stop()
	if err := l.Rest(2 * time.Second); err != nil {
		return c, err
	}
	if err := l.Settle(s); err != nil {
		return c, err
	}
	if err := l.Rest(time.Second); err != nil {
		return c, err
	}
	if c.pss, err = s.PSS(); err != nil {
		return c, err
	}
	for name, what := range map[string]string{"heap": "heap", "memory": "heap?debug=1", "goroutines": "goroutine?debug=1"} {
		if err := l.Keep(s, "/debug/pprof/"+what, name); err != nil {
			return c, err
		}
	}
	c.goroutines, err = l.Goroutines(s)
	return c, err
}

// storm has devices come online, from the start of the process on.
func storm(l *lab.Lab) ([]Side, error) {
	devices := l.Count(1000, 20)
	state, err := l.Prepare(devices)
	if err != nil {
		return nil, err
	}
	p := l.Params()
	p.Devices, p.Callers = devices, atOnce
	return []Side{
		{"direct", func() (program.Figures, error) {
			process, err := l.StartReady(l.Command(p, "direct-crowd"))
			if err != nil {
				return nil, err
			}
			return online(process, time.Since(process.Began))
		}},
		{"sidecar", func() (program.Figures, error) {
			own, err := l.Copy(state)
			if err != nil {
				return nil, err
			}
			s, err := l.StartSidecar(lab.SidecarOptions{StateDir: own})
			if err != nil {
				return nil, err
			}
			var took time.Duration
			_, err = l.WhileProfiled(s, func() (program.Figures, error) {
				err := l.AwaitOnline(s, devices)
				took = time.Since(s.Began)
				return nil, err
			})
			if err != nil {
				return nil, err
			}
			return online(s.Process, took)
		}},
	}, nil
}

func online(p *lab.Process, after time.Duration) (program.Figures, error) {
	cpu, err := p.CPU()
	p.Stop()
	return program.Figures{"seconds_to_online": after.Seconds(), "cpu_seconds": cpu.Seconds()}, err
}
