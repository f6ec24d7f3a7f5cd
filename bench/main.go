// Command bench compares the sidecar with its rivals, side by side in one run, and says which targets are reached.
// docs/performance.md says how to read what it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/compare"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == "program" {
		return program.Run(ctx, args[1], []byte(args[2]), out)
	}
	var o lab.Options
	var only, results, docs string
	var repetitions int
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.Sidecar, "sidecar", "../bin/linkkit-sidecar", "the command under test")
	flags.StringVar(&only, "only", "", "names of comparisons, with commas; default all")
	flags.IntVar(&repetitions, "repetitions", 5, "of each comparison")
	flags.StringVar(&results, "results", "results", "directory for what was found")
	flags.StringVar(&docs, "docs", "", "file whose generated part is to be that of this run")
	flags.StringVar(&o.Profiles, "profiles", "", "directory for profiles of the sidecar; then it is a build with a door for them")
	flags.BoolVar(&o.Quick, "quick", false, "measure for a moment only, to see that everything works")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "linkkit-bench-build")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.Profiles != "" {
		if err := os.MkdirAll(o.Profiles, 0o750); err != nil {
			return err
		}
	}
	if o.Self, err = os.Executable(); err != nil {
		return err
	}
	if o.Sidecar, err = filepath.Abs(o.Sidecar); err != nil {
		return err
	}
	if o.Observed, err = build(ctx, dir, "observed"); err != nil {
		return err
	}
	found, err := compareAll(ctx, o, chosen, repetitions, out)
	if docs != "" && err == nil {
		err = found.Insert(docs)
	}
	return errors.Join(err, found.Write(results))
}

// compareAll runs the comparisons. One that fails does not keep the others from running.
func compareAll(ctx context.Context, o lab.Options, chosen choice, repetitions int, out io.Writer) (report.Report, error) {
	r := report.Report{Machine: lab.ThisMachine(ctx), Began: time.Now().UTC().Truncate(time.Second), Version: version(ctx, o.Sidecar), Quick: o.Quick}
	var failed []error
	one := func(name string, run func() ([]compare.Verdict, error)) {
		if ctx.Err() != nil {
			return
		}
		_, _ = fmt.Fprintf(out, "%s ", name)
		began := time.Now()
		verdicts, err := run()
		if err != nil {
			failed = append(failed, err)
			_, _ = fmt.Fprintln(out, " failed:", err)
			return
		}
		r.Verdicts = append(r.Verdicts, verdicts...)
		_, _ = fmt.Fprintf(out, " %.0f s\n", time.Since(began).Seconds())
		for _, v := range verdicts {
			_, _ = fmt.Fprintln(out, "   ", v)
		}
	}
	for _, c := range chosen.comparisons {
		one(c.Name, func() ([]compare.Verdict, error) {
			outcome, err := compare.Run(ctx, o, c, repetitions, out)
			if err != nil {
				return nil, err
			}
			r.Outcomes = append(r.Outcomes, outcome)
			return compare.Judge(outcome), nil
		})
	}
	for _, g := range chosen.growths {
		one(g.Name, func() ([]compare.Verdict, error) {
			curve, err := compare.Grow(ctx, o, g, out)
			if err != nil {
				return nil, err
			}
			r.Curves = append(r.Curves, curve)
			return g.Judge(curve), nil
		})
	}
	return r, errors.Join(failed...)
}

// choice is what to run.
type choice struct {
	comparisons []compare.Comparison
	growths     []compare.Growth
}

func choose(only string) (chosen choice, err error) {
	if only == "" {
		return choice{compare.All, compare.Growths}, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, c := range compare.All {
			if c.Name == name {
				chosen.comparisons, found = append(chosen.comparisons, c), true
			}
		}
		for _, g := range compare.Growths {
			if g.Name == name {
				chosen.growths, found = append(chosen.growths, g), true
			}
		}
		if !found {
			return chosen, fmt.Errorf("there is no comparison %q", name)
		}
	}
	return chosen, nil
}

// build builds a command of this module, as the command under test is built.
func build(ctx context.Context, dir, name string) (string, error) {
	file := filepath.Join(dir, name)
	c := exec.CommandContext(ctx, "go", "build", "-tags", "grpcnotrace", "-trimpath", "-o", file, "./"+name)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", name, err, said)
	}
	return file, nil
}

func version(ctx context.Context, sidecar string) string {
	said, err := exec.CommandContext(ctx, sidecar, "version").Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(said), "\n")
	return first
}
