package compare

import (
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// chain asks for the state of a device: at the sidecar, and at a server without interceptors that gives the same answer.
func chain(l *lab.Lab) ([]Side, error) {
	p := l.Params()
	p.Callers = 64
	sidecar, bare, err := besideBare(l, p)
	if err != nil {
		return nil, err
	}
	return []Side{
		{"bare-grpc", withCPU(l, bare, "server", at(p, bare.Say("address")), "grpc-get")},
		{"sidecar", profiled(l, sidecar, at(p, sidecar.Address), "grpc-get")},
	}, nil
}

// crush has more callers on one connection than it may have calls at once.
func crush(l *lab.Lab) ([]Side, error) {
	sidecar, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	p := at(l.Params(), sidecar.Address)
	if p.Callers = 2000; !l.Quick {
		p.Seconds = 5
	}
	return []Side{{"sidecar", func() (program.Figures, error) { return l.RunOurs(p, "grpc-get") }}}, nil
}
