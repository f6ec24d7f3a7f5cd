package compare

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// The programs in Python are in ../python. `make test-deps` makes the environment in which they run: it has the vendor's SDK, too.
const (
	python        = "../.venv/bin/python"
	pythonClient  = "../clients/python/src"
	pythonFolder  = "python"
	vendorPatient = 5 // runs that may break in a row
)

// pythonPublish publishes as fast as each side's own defaults let it.
func pythonPublish(l *lab.Lab) ([]Side, error) {
	p, sidecar, err := pythonLab(l)
	if err != nil {
		return nil, err
	}
	windowed := p
	windowed.Window = 20 // the vendor's default
	return []Side{
		{"vendor", patient(l, p, "vendor_publish.py")},
		{"paho", inPython(l, windowed, "paho_publish.py")},
		{"sidecar", inPython(l, at(p, sidecar.Address), "sidecar_publish.py", "pipelined")},
		{"asyncio", inPython(l, at(p, sidecar.Address), "sidecar_publish.py", "asyncio")},
	}, nil
}

// pythonUnchanged runs one program by the vendor's API on the vendor's SDK, and through the sidecar.
func pythonUnchanged(l *lab.Lab) ([]Side, error) {
	p, sidecar, err := pythonLab(l)
	if err != nil {
		return nil, err
	}
	return []Side{
		{"vendor", patient(l, p, "vendor_publish.py")},
		{"sidecar", unchanged(l, p, sidecar, "vendor_publish.py")},
	}, nil
}

// pythonOne publishes one message at a time.
func pythonOne(l *lab.Lab) ([]Side, error) {
	p, sidecar, err := pythonLab(l)
	if err != nil {
		return nil, err
	}
	p.Window = 1
	return []Side{
		{"vendor", patient(l, p, "vendor_publish.py")},
		{"paho", inPython(l, p, "paho_publish.py")},
		{"sidecar", inPython(l, at(p, sidecar.Address), "sidecar_publish.py", "one")},
	}, nil
}

// pythonReceive receives as fast as messages come.
func pythonReceive(l *lab.Lab) ([]Side, error) {
	p, sidecar, err := pythonLab(l)
	if err != nil {
		return nil, err
	}
	p.Count, p.Window = l.Count(30_000, 300), window
	return []Side{
		{"vendor", func() (program.Figures, error) { return receive(l, p, pythonCommand(l, p, "vendor_receive.py")) }},
		{"sidecar", func() (program.Figures, error) {
			p := at(p, sidecar.Address)
			return receive(l, p, pythonCommand(l, p, "sidecar_receive.py"))
		}},
	}, nil
}

// pythonLab has a sidecar with a device, and parameters of a device that rivals are themselves.
func pythonLab(l *lab.Lab) (program.Params, *lab.Sidecar, error) {
	if _, err := os.Stat(python); err != nil {
		return program.Params{}, nil, errors.New("the rivals in Python need an environment: `make test-deps` makes it")
	}
	sidecar, err := sidecarWithDevice(l)
	return l.Params(), sidecar, err
}

func inPython(l *lab.Lab, p program.Params, script string, args ...string) func() (program.Figures, error) {
	return func() (program.Figures, error) { return l.Run(pythonCommand(l, p, script, args...)) }
}

func pythonCommand(l *lab.Lab, p program.Params, script string, args ...string) *exec.Cmd {
	return withClient(l.Command(p, python, append([]string{filepath.Join(pythonFolder, script)}, args...)...))
}

// unchanged runs a program of the vendor's API through the sidecar, as a device of its own.
func unchanged(l *lab.Lab, p program.Params, s *lab.Sidecar, script string) func() (program.Figures, error) {
	p.DeviceName, p.ClientID, p.Username = "unchanged", "unchanged", "unchanged&"+lab.ProductKey
	p.Topic = "/" + lab.ProductKey + "/unchanged/user/bench"
	return func() (program.Figures, error) {
		c := withClient(l.Command(p, python, "-m", "linkkit_sidecar.run", filepath.Join(pythonFolder, script)))
		c.Env = append(c.Env, "LINKKIT_SIDECAR_ADDRESS="+s.Address)
		return l.Run(c)
	}
}

func withClient(c *exec.Cmd) *exec.Cmd {
	c.Env = append(os.Environ(), "PYTHONPATH="+pythonClient)
	return c
}

// patient runs a program on the vendor's SDK, again when it breaks: two of its threads write to one TLS connection without a lock, and now
// and then the broker ends it for a record that is no longer whole. How often it did is among the figures.
func patient(l *lab.Lab, p program.Params, script string) func() (program.Figures, error) {
	return func() (program.Figures, error) {
		for broke := 0; ; broke++ {
			f, err := l.Run(pythonCommand(l, p, script))
			if err == nil {
				f["broken_runs"] = float64(broke)
				return f, nil
			}
			if broke == vendorPatient {
				return nil, err
			}
		}
	}
}
