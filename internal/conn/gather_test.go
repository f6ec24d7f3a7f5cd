package conn

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	confirmed = publishPacket("/a/b", "confirmed", 1, 7)
	sent      = publishPacket("/a/b", "sent", 0, 0)
	puback    = []byte{0x40, 2, 0, 7}
)

func write(t *testing.T, g *guard, packet []byte) {
	t.Helper()
	if n, err := g.Write(packet); n != len(packet) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func TestMessagesWaitWhileOthersFollow(t *testing.T) {
	s := newStream()
	g := newGuard(s)
	write(t, g, confirmed)
	if !bytes.Equal(s.written.Bytes(), confirmed) {
		t.Fatal("a message waited that nothing follows")
	}
	s.written.Reset()
	g.setMore(true)
	write(t, g, confirmed)
	write(t, g, puback)
	if s.written.Len() > 0 {
		t.Fatal("a message that others follow was written by itself")
	}
	g.setMore(false)
	if want := append(bytes.Clone(confirmed), puback...); !bytes.Equal(s.written.Bytes(), want) {
		t.Fatalf("written: %x", s.written.Bytes())
	}
}

// TestWhatIsToldWhenItIsWrittenIsWritten sees that QoS 0 and what is no message never wait, nor does what came before them.
func TestWhatIsToldWhenItIsWrittenIsWritten(t *testing.T) {
	for _, packet := range [][]byte{sent, subscribe1, {0xc0, 0}, {0xe0, 0}} {
		s := newStream()
		g := newGuard(s)
		g.setMore(true)
		write(t, g, confirmed)
		write(t, g, packet)
		if want := append(bytes.Clone(confirmed), packet...); !bytes.Equal(s.written.Bytes(), want) {
			t.Errorf("written: %x, want %x", s.written.Bytes(), want)
		}
	}
}

func TestNoMoreWaitsThanOneRecordHolds(t *testing.T) {
	s := newStream()
	g := newGuard(s)
	g.setMore(true)
	large := publishPacket("/a/b", string(make([]byte, writeChunk/2)), 1, 7)
	write(t, g, large)
	write(t, g, large)
	if want := append(bytes.Clone(large), large...); !bytes.Equal(s.written.Bytes(), want) {
		t.Errorf("%d bytes were written, want %d", s.written.Len(), len(want))
	}
}

// TestAcknowledgementsWaitAMoment sees that those that wait because more is to be read are written soon although nothing more comes.
func TestAcknowledgementsWaitAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		g := newGuard(near)
		g.connack = 0
		first, second := publishPacket("/a/b", string(make([]byte, 2+maxTopic)), 1, 7), publishPacket("/a/b", "x", 1, 8)
		go func() { _, _ = far.Write(append(first, second...)) }()
		if _, err := g.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		written := make(chan int, 1)
		go func() {
			got := make([]byte, 2*len(puback))
			n, _ := io.ReadFull(far, got)
			written <- n
		}()
		write(t, g, puback)
		write(t, g, puback)
		began := time.Now()
		if n := <-written; n != 2*len(puback) || time.Since(began) > gatherFor {
			t.Errorf("%d bytes after %s", n, time.Since(began))
		}
	})
}

// TestNothingIsLeftWaiting has a sender that stops and goes on at any moment, while another goroutine writes, as the library does.
func TestNothingIsLeftWaiting(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	g := newGuard(near)
	const packets = 2000
	handed := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { // the library
		for range handed {
			if _, err := g.Write(confirmed); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() { // the sender
		for i := range packets {
			g.setMore(true)
			handed <- struct{}{}
			if i%3 == 0 {
				g.setMore(false)
			}
		}
		g.setMore(false)
		close(handed)
	})
	got := make([]byte, packets*len(confirmed))
	_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := io.ReadFull(far, got); err != nil {
		t.Fatalf("%d of %d bytes were written: %v", n, len(got), err)
	}
	all.Wait()
	if want := bytes.Repeat(confirmed, packets); !bytes.Equal(got, want) {
		t.Error("packets were written in pieces, or out of their order")
	}
}
