package compare

import (
	"os"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// start starts a sidecar that has nothing stored yet, and one that goes on with what is.
func start(l *lab.Lab) ([]Side, error) {
	state, err := l.Prepare(1)
	if err != nil {
		return nil, err
	}
	binary, err := os.Stat(l.Sidecar)
	if err != nil {
		return nil, err
	}
	started := func(s *lab.Sidecar, err error) (program.Figures, error) {
		if err != nil {
			return nil, err
		}
		s.Stop()
		return program.Figures{"ready_ms": float64(s.ReadyAfter.Microseconds()) / 1000, "binary_mb": float64(binary.Size()) / (1 << 20)}, nil
	}
	return []Side{
		{"fresh", func() (program.Figures, error) {
			fresh, err := os.MkdirTemp(l.Dir, "fresh")
			if err != nil {
				return nil, err
			}
			return started(l.StartSidecar(lab.SidecarOptions{StateDir: fresh}))
		}},
		{"again", func() (program.Figures, error) { return started(l.StartWith(state, 1, lab.SidecarOptions{})) }},
	}, nil
}

// idleOne is the sidecar as it is shipped, with one device that has nothing to say.
func idleOne(l *lab.Lab) ([]Side, error) {
	state, err := l.Prepare(1)
	if err != nil {
		return nil, err
	}
	return []Side{{"sidecar", func() (program.Figures, error) {
		s, err := l.StartWith(state, 1, lab.SidecarOptions{})
		if err != nil {
			return nil, err
		}
		defer s.Stop()
		if err := l.Rest(5 * time.Second); err != nil {
			return nil, err
		}
		pss, err := s.PSS()
		return program.Figures{"pss_mb": pss / (1 << 20)}, err
	}}}, nil
}
