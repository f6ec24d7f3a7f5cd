package program

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Settle collects garbage as often as the runtime does by itself in some minutes of rest: each time stacks that are mostly empty become
// half as large.
func Settle() {
	for range 3 {
		debug.FreeOSMemory()
	}
}

// settleOnSignal waits for the end, and gives memory back at each SIGUSR1, as the runtime does by itself within some minutes of rest.
func settleOnSignal(ctx context.Context) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
			Settle()
		case <-ctx.Done():
			return
		}
	}
}
