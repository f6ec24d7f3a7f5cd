package compare

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// task is what rivals in other languages can do, beside the programs of ours that do the same.
type task struct {
	name, title     string // the name is the first part of their file's
	direct, sidecar string
	receives        bool
	params          func(*lab.Lab, *program.Params)
}

var tasks = []task{
	{
		name: "one", title: "One publish at a time, in Python", direct: "direct-publish", sidecar: "grpc-publish",
		params: func(_ *lab.Lab, p *program.Params) { p.Callers = 1 },
	},
	{
		name: "window", title: "Publishes as fast as possible, in Python", direct: "direct-publish", sidecar: "grpc-stream",
		params: func(_ *lab.Lab, p *program.Params) { p.Window, p.Batch = window, 64 },
	},
	{
		name: "receive", title: "Subscribe as fast as messages come, in Python", direct: "direct-receive", sidecar: "grpc-receive", receives: true,
		params: func(l *lab.Lab, p *program.Params) { p.Count, p.Window = l.Count(20_000, 200), window },
	},
}

// Externals are the comparisons of the programs in a directory: files TASK_NAME.py.
func Externals(dir string) (all []Comparison) {
	for _, t := range tasks {
		files, _ := filepath.Glob(filepath.Join(dir, t.name+"_*.py")) // the pattern is well formed
		if len(files) == 0 {
			continue
		}
		all = append(all, Comparison{
			Name: "python-" + t.name, Title: t.title, Open: func(l *lab.Lab) ([]Side, error) { return t.open(l, files) },
		})
	}
	return all
}

func (t task) open(l *lab.Lab, files []string) ([]Side, error) {
	s, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	p := at(l.Params(), s.Address)
	t.params(l, &p)
	side := func(name string, command func() *exec.Cmd) Side {
		return Side{name, during(s.Process, "sidecar", func() (program.Figures, error) {
			if t.receives {
				return receive(l, p, command())
			}
			return l.Run(command())
		})}
	}
	sides := []Side{
		side("go-direct", func() *exec.Cmd { return l.Command(p, t.direct) }),
		side("go-sidecar", func() *exec.Cmd { return l.Command(p, t.sidecar) }),
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), t.name+"_"), ".py")
		sides = append(sides, side(name, func() *exec.Cmd { return l.Command(p, interpreter(filepath.Dir(file)), file) }))
	}
	return sides, nil
}

// interpreter runs the programs of a directory: PYTHON, or the one that `make test-deps` has made, or the system's.
func interpreter(dir string) string {
	if chosen := os.Getenv("PYTHON"); chosen != "" {
		return chosen
	}
	if own := filepath.Join(dir, "..", "..", ".venv", "bin", "python"); exec.Command(own, "-V").Run() == nil { //nolint:noctx // it ends at once
		return own
	}
	return "python3"
}
