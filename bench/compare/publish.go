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
		sidecar, bare, err := besideBare(l, p)
		if err != nil {
			return nil, err
		}
		return []Side{
			{"direct", func() (program.Figures, error) { return l.RunOurs(p, "direct-publish") }},
			{"bare-grpc", withCPU(l, bare, "server", at(p, bare.Say("address")), "grpc-publish")},
			{"sidecar", profiled(l, sidecar, at(p, sidecar.Address), "grpc-publish")},
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
	return []Side{
		{"direct", func() (program.Figures, error) { return l.RunOurs(p, "direct-publish") }},
		{"sidecar", profiled(l, sidecar, at(p, sidecar.Address), "grpc-stream")},
	}, nil
}

// window is how many messages of a device may be under way where throughput is measured, on all sides.
const window = 1000

// onSandbox has a comparison run over the emulator of the platform, with signed logins.
func onSandbox(open func(*lab.Lab) ([]Side, error)) func(*lab.Lab) ([]Side, error) {
	return func(l *lab.Lab) ([]Side, error) {
		if err := l.UseSandbox(); err != nil {
			return nil, err
		}
		return open(l)
	}
}

// besideBare is a sidecar with a device, and a server of gRPC that is nothing else.
func besideBare(l *lab.Lab, p program.Params) (*lab.Sidecar, *lab.Process, error) {
	sidecar, err := sidecarWithDevice(l)
	if err != nil {
		return nil, nil, err
	}
	bare, err := l.StartReady(l.Command(p, "bare-server"))
	return sidecar, bare, err
}

func sidecarWithDevice(l *lab.Lab) (*lab.Sidecar, error) {
	s, err := l.StartSidecar(lab.SidecarOptions{})
	if err != nil {
		return nil, err
	}
	return s, l.Connect(s, 1, window)
}

// withCPU runs a program of ours, and adds what another process used meanwhile, for each message.
func withCPU(l *lab.Lab, of *lab.Process, name string, p program.Params, run string) func() (program.Figures, error) {
	return during(of, name, func() (program.Figures, error) { return l.RunOurs(p, run) })
}

// during adds what a process used while something ran, for each message of it.
func during(of *lab.Process, name string, run func() (program.Figures, error)) func() (program.Figures, error) {
	return func() (program.Figures, error) {
		before, err := of.CPU()
		if err != nil {
			return nil, err
		}
		f, err := run()
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
