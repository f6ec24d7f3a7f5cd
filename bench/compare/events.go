package compare

import (
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// events tells 16 readers of more events than devices make.
func events(l *lab.Lab) ([]Side, error) {
	p := l.Params()
	p.Apps, p.Count, p.Rate = 16, l.Count(12_000, 300), 20_000 // the journal keeps 16,384
	server, err := l.StartReady(l.Command(p, "event-server"))
	if err != nil {
		return nil, err
	}
	return []Side{{"sidecar", withCPU(l, server, "server", at(p, server.Say("address")), "event-readers")}}, nil
}

// eventDelay tells one reader of a state change, when nothing else is going on.
func eventDelay(l *lab.Lab) ([]Side, error) {
	sidecar, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	p := at(l.Params(), sidecar.Address)
	p.Count = l.Count(100, 5)
	return []Side{{"sidecar", func() (program.Figures, error) { return l.RunOurs(p, "event-delay") }}}, nil
}
