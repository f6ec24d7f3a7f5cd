package lab

import (
	"context"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where a run took place.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Broker string `json:"broker"`
	Load   string `json:"load"` // before the run: the averages of 1, 5 and 15 minutes
}

// ThisMachine describes the one that this runs on.
func ThisMachine(ctx context.Context) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal")}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	out, _ := exec.CommandContext(ctx, "mosquitto", "-h").Output() // its exit code is 3, though it helps
	m.Broker, _, _ = strings.Cut(string(out), "\n")
	if load := strings.Fields(read("/proc/loadavg")); len(load) >= 3 {
		m.Load = strings.Join(load[:3], " ")
	}
	return m
}

func field(file, name string) string {
	for line := range strings.Lines(read(file)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
