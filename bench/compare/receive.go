package compare

import (
	"os/exec"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// subscribe receives so many messages of another program, at a rate, or as fast as they come.
func subscribe(count, few int, rate float64) func(*lab.Lab) ([]Side, error) {
	return func(l *lab.Lab) ([]Side, error) {
		sidecar, err := sidecarWithDevice(l)
		if err != nil {
			return nil, err
		}
		p := l.Params()
		p.Count, p.Rate, p.Window = l.Count(count, few), rate, window
		return []Side{
			{"direct", func() (program.Figures, error) { return receive(l, p, l.Command(p, "direct-receive")) }},
			{"sidecar", func() (program.Figures, error) {
				return l.WhileProfiled(sidecar, func() (program.Figures, error) {
					p := at(p, sidecar.Address)
					return receive(l, p, l.Command(p, "grpc-receive"))
				})
			}},
		}, nil
	}
}

// receive has a receiver ready, and then the feed begin.
func receive(l *lab.Lab, p program.Params, receives *exec.Cmd) (program.Figures, error) {
	receiver, err := l.StartReady(receives)
	if err != nil {
		return nil, err
	}
	p.ClientID = "feed"
	if _, err := l.RunOurs(p, "feed"); err != nil {
		return nil, err
	}
	return receiver.Figures()
}
