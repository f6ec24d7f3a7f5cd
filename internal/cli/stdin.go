package cli

import (
	"context"
	"io"

	"github.com/spf13/pflag"
)

// stdinFlag makes a server end with the program that started it, however that ends: the system closes a pipe even of a program that
// was killed. The system's own way (PR_SET_PDEATHSIG) would do so at the end of the thread that started the server.
type stdinFlag struct{ stop bool }

func (f *stdinFlag) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.stop, "stop-with-stdin", false, "stop in good order when standard input ends: for a program that holds a pipe to it")
}

// watch returns a context that ends with standard input too. What comes from there is thrown away. Reading it cannot be broken off, so the
// goroutine lasts until standard input ends or the process does.
func (f *stdinFlag) watch(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if f.stop {
		go func() {
			_, _ = io.Copy(io.Discard, stdin) // an error ends it as its end does
			cancel()
		}()
	}
	return ctx, cancel
}
