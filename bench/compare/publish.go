package compare

import (
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// unary publishes one message a call.
func unary(callers int) func(*lab.Lab) ([]Side, error) {
	return func(l *lab.Lab) ([]Side, error) {
		p := l.Params()
		p.Callers = callers
		sidecar, err := sidecarWithDevice(l)
		if err != nil {
			return nil, err
		}
		bare, err := l.StartReady(l.Command(p, "bare-server"))
		if err != nil {
			return nil, err
		}
		onBare, onSidecar := p, p
		onBare.Address, onSidecar.Address = bare.Say("address"), sidecar.Address
		return []Side{
			{"direct", func() (program.Figures, error) { return l.RunOurs(p, "direct-publish") }},
			{"bare-grpc", withCPU(l, bare, "server", onBare, "grpc-publish")},
			{"sidecar", profiled(l, sidecar, onSidecar, "grpc-publish")},
		}, nil
	}
}

// stream publishes with a window.
func stream(l *lab.Lab) ([]Side, error) {
	p := l.Params()
	p.Window, p.Batch = window, 64
	sidecar, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	onSidecar := p
	onSidecar.Address = sidecar.Address
	return []Side{
		{"direct", func() (program.Figures, error) { return l.RunOurs(p, "direct-publish") }},
		{"sidecar", profiled(l, sidecar, onSidecar, "grpc-stream")},
	}, nil
}

// window is how many messages of a device may be under way where throughput is measured, on all sides.
const window = 1000

func sidecarWithDevice(l *lab.Lab) (*lab.Sidecar, error) {
	s, err := l.StartSidecar(lab.SidecarOptions{})
	if err != nil {
		return nil, err
	}
	return s, l.Connect(s, 1, window)
}

// withCPU runs a program of ours, and adds what another process used meanwhile, for each message.
func withCPU(l *lab.Lab, of *lab.Process, name string, p program.Params, run string) func() (program.Figures, error) {
	return func() (program.Figures, error) {
		before, err := of.CPU()
		if err != nil {
			return nil, err
		}
		f, err := l.RunOurs(p, run)
		if err != nil {
			return nil, err
		}
		after, err := of.CPU()
		if err != nil {
			return nil, err
		}
		f[name+"_cpu_us_per_message"] = (after - before).Seconds() * 1e6 / f["messages"]
		return f, nil
	}
}

// profiled is withCPU for a sidecar.
func profiled(l *lab.Lab, s *lab.Sidecar, p program.Params, run string) func() (program.Figures, error) {
	return func() (program.Figures, error) { return l.WhileProfiled(s, withCPU(l, s.Process, "sidecar", p, run)) }
}
