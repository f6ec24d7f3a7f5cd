package compare

import (
	"os"
	"strings"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// tracing runs a command under strace, which writes a line for each fsync to a file, and lets all other calls pass. With -D the command
// is our own child, to which signals go, and strace is the one that follows.
func tracing(file string, more ...string) []string {
	return append([]string{"strace", "-D", "--seccomp-bpf", "-f", "-q", "-o", file, "-e", "trace=fsync,fdatasync"}, more...)
}

// slowly has each fsync take 5 ms longer, as on the flash of a gateway.
var slowly = []string{"-e", "inject=fsync,fdatasync:delay_exit=5000"}

// stored publishes STORED messages from 64 callers, beside a program that does nothing but fsync. How many fsyncs the sidecar made is
// counted on a side of its own, since counting takes time.
func stored(l *lab.Lab) ([]Side, error) {
	p := storedParams(l)
	sidecar, err := sidecarWithDevice(l)
	if err != nil {
		return nil, err
	}
	counted, err := l.StartSidecar(lab.SidecarOptions{Name: "counted", Under: tracing(l.Path("fsyncs"))})
	if err == nil {
		err = l.Connect(counted, 1, window)
	}
	if err != nil {
		return nil, err
	}
	return []Side{
		{"fsync", func() (program.Figures, error) { return l.RunOurs(p, "fsync") }},
		{"sidecar", drained(l, sidecar, profiled(l, sidecar, at(p, sidecar.Address), "grpc-publish"))},
		{"counted", countingSyncs(l, drained(l, counted, profiled(l, counted, at(p, counted.Address), "grpc-publish")))},
	}, nil
}

// storedSlow is stored where the disk is what limits.
func storedSlow(l *lab.Lab) ([]Side, error) {
	p := storedParams(l)
	sidecar, err := l.StartSidecar(lab.SidecarOptions{Under: tracing(l.Path("fsyncs"), slowly...)})
	if err == nil {
		err = l.Connect(sidecar, 1, window)
	}
	if err != nil {
		return nil, err
	}
	return []Side{
		{"fsync", func() (program.Figures, error) {
			alone := l.Command(p, "fsync")
			under := tracing(os.DevNull, slowly...)
			return l.Run(l.Command(p, under[0], append(under[1:], alone.Args[:len(alone.Args)-1]...)...))
		}},
		{"sidecar", countingSyncs(l, drained(l, sidecar, profiled(l, sidecar, at(p, sidecar.Address), "grpc-publish")))},
	}, nil
}

func storedParams(l *lab.Lab) program.Params {
	p := l.Params()
	p.Callers, p.Stored = 64, true
	return p
}

// at are the parameters of who uses the sidecar at an address, and its device.
func at(p program.Params, address string) program.Params {
	p.Address, p.Topic = address, lab.Topic(p.DeviceName)
	return p
}

// drained waits, after something was stored, until all of it has been sent, and tells how long that took.
func drained(l *lab.Lab, s *lab.Sidecar, run func() (program.Figures, error)) func() (program.Figures, error) {
	return func() (program.Figures, error) {
		f, err := run()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		err = l.Await("the end of the outbox", 2*time.Minute, func() (bool, error) {
			r, err := s.Devices.GetDevice(l.Context(), &pb.GetDeviceRequest{})
			return r.GetStatus().GetQueue().GetStoredMessages() == 0, err
		})
		f["seconds_to_drain"] = time.Since(began).Seconds()
		return f, err
	}
}

// countingSyncs adds how many fsyncs the traced sidecar made meanwhile.
func countingSyncs(l *lab.Lab, run func() (program.Figures, error)) func() (program.Figures, error) {
	return func() (program.Figures, error) {
		before, err := syncs(l)
		if err != nil {
			return nil, err
		}
		f, err := run()
		if err != nil {
			return nil, err
		}
		after, err := syncs(l)
		f["fsyncs"] = float64(after - before)
		return f, err
	}
}

func syncs(l *lab.Lab) (int, error) {
	text, err := os.ReadFile(l.Path("fsyncs"))
	return strings.Count(string(text), "sync("), err
}
