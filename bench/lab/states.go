package lab

import (
	"fmt"
	"os"
	"os/exec"
)

// Prepare makes a state directory of a sidecar that had so many devices online, for others to begin with.
func (l *Lab) Prepare(devices int) (dir string, err error) {
	s, err := l.StartSidecar(SidecarOptions{Name: fmt.Sprint("prepare", devices)})
	if err != nil {
		return "", err
	}
	defer s.Stop()
	return s.StateDir, l.Connect(s, devices, 0)
}

// Copy makes a copy of a state directory, for one sidecar to change.
func (l *Lab) Copy(dir string) (string, error) {
	to, err := os.MkdirTemp(l.Dir, "state")
	if err != nil {
		return "", err
	}
	if said, err := exec.CommandContext(l.ctx, "cp", "-a", dir+"/.", to).CombinedOutput(); err != nil { // with the modes of files
		return "", fmt.Errorf("a copy of %s: %w\n%s", dir, err, said)
	}
	return to, nil
}

// StartWith starts a sidecar on a copy of a state directory and waits until its devices are online.
func (l *Lab) StartWith(dir string, devices int, o SidecarOptions) (s *Sidecar, err error) {
	if o.StateDir, err = l.Copy(dir); err != nil {
		return nil, err
	}
	if s, err = l.StartSidecar(o); err != nil {
		return nil, err
	}
	return s, l.AwaitOnline(s, devices)
}
