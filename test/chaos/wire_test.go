package chaos

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// direction is that of bytes on a wire.
type direction int

const (
	toPlatform direction = iota
	toDevice
)

// wire is a proxy between sidecar and platform. It can be cut, and it passes on how either side ends a connection: a reset as a reset.
type wire struct {
	t        *testing.T
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string // where the platform listens now
	open   map[*joint]bool
	closed bool
}

// joint is one connection through a wire.
type joint struct {
	device, platform *net.TCPConn

	mu    sync.Mutex
	left  [2]int // bytes until it is cut; negative: it is not to be
	reset bool   // how it is cut then
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, listener: listener, target: target, open: map[*joint]bool{}}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		w.cut(true)
		w.running.Wait()
	})
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

// lead has later connections go to another address.
func (w *wire) lead(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = target
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		device := c.(*net.TCPConn)
		w.mu.Lock()
		target := w.target
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", target)
		cancel()
		if err != nil { // the platform is away
			_ = device.SetLinger(0)
			_ = device.Close()
			continue
		}
		j := &joint{device: device, platform: c.(*net.TCPConn), left: [2]int{-1, -1}}
		w.mu.Lock()
		w.open[j] = true
		closed := w.closed
		w.mu.Unlock()
		if closed {
			j.end(true)
		}
		w.running.Go(func() { w.carry(j, toPlatform, j.platform, j.device) })
		w.running.Go(func() { w.carry(j, toDevice, j.device, j.platform) })
	}
}

// carry copies until a side ends, or the bytes are over after which the connection is to be cut.
func (w *wire) carry(j *joint, d direction, to io.Writer, from io.Reader) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		some, over := j.pass(d, n)
		if _, werr := to.Write(buffer[:some]); err == nil {
			err = werr
		}
		if over {
			j.mu.Lock()
			reset := j.reset
			j.mu.Unlock()
			j.end(reset)
			break
		}
		if err != nil {
			j.end(!errors.Is(err, io.EOF)) // whichever call is the first to hear of a reset, later ones hear of something else
			break
		}
	}
	w.mu.Lock()
	delete(w.open, j)
	w.mu.Unlock()
}

// pass tells how many of n bytes may go on, and whether the connection is to be cut behind them.
func (j *joint) pass(d direction, n int) (some int, over bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left[d] < 0 {
		return n, false
	}
	if n < j.left[d] {
		j.left[d] -= n
		return n, false
	}
	return j.left[d], true
}

func (j *joint) end(reset bool) {
	for _, c := range []*net.TCPConn{j.device, j.platform} {
		if reset {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (w *wire) each(do func(*joint)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for j := range w.open {
		do(j)
	}
}

// cut ends all connections.
func (w *wire) cut(reset bool) { w.each(func(j *joint) { j.end(reset) }) }

// cutAfter ends the connections that there are after so many more bytes in one direction.
func (w *wire) cutAfter(d direction, n int, reset bool) {
	w.each(func(j *joint) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.left[d], j.reset = n, reset
	})
}
