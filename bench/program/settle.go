package program

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// settleOnSignal waits for the end, and gives memory back at each SIGUSR1, as the runtime does by itself within some minutes of rest.
func settleOnSignal(ctx context.Context) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
			debug.FreeOSMemory()
		case <-ctx.Done():
			return
		}
	}
}
