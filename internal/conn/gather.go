package conn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// gatherFor is how long acknowledgements of what has come may wait for others. It is short beside any round trip to the platform.
const gatherFor = 300 * time.Microsecond

// gathered is packets that are written together: one record of TLS and one system call, in place of one for each. A packet waits only
// while more are certain to follow at once, so one message at a time is never later for it.
//
// Two know that more will follow. The sender does while it has messages and may send them; it says so by more, and before it waits for
// anything it says the opposite, which writes what waits. The other is whoever reads: while there are bytes to read, acknowledgements
// will follow; those that wait because of it are written after gatherFor at the latest. Between them the rule is that whoever
// lets a packet wait looks again whether more is still to come, and whoever says that nothing more comes looks afterwards whether a packet
// waits; so one of the two sees it.
type gathered struct {
	more   atomic.Bool // the sender has another packet
	intake *intake
	any    atomic.Bool // packets wait

	packets *[]byte // those that wait; nil when there are none. writing is held
}

// chunks lends room for packets that wait, so that links on which little happens have none of their own.
var chunks = sync.Pool{New: func() any { b := make([]byte, 0, writeChunk); return &b }}

// mayWait reports whether a packet's writing is nobody's business until its acknowledgement: PUBLISH with QoS 1, and PUBACK. For QoS 0
// to be written is all that is ever told; the others are rare.
func mayWait(p []byte) bool {
	kind, qos := p[0]>>4, p[0]>>1&3
	return kind == typePublish && qos == 1 || kind == typePuback
}

// gather lets a packet wait if others follow at once, and else returns what is to be written now, p or more. writing is held.
func (g *guard) gather(p []byte) []byte {
	w := &g.gathered
	if mayWait(p) && (w.more.Load() || w.intake.reading.Load()) && w.length()+len(p) <= writeChunk {
		if w.packets == nil {
			w.packets = chunks.Get().(*[]byte)
			w.any.Store(true)
			if !w.more.Load() {
				time.AfterFunc(gatherFor, g.flush)
			}
		}
		*w.packets = append(*w.packets, p...)
		if w.more.Load() || w.intake.reading.Load() {
			return nil
		}
		p = nil // it is among those that wait
	}
	if w.packets == nil {
		return p
	}
	return append(*w.packets, p...)
}

func (w *gathered) length() int {
	if w.packets == nil {
		return 0
	}
	return len(*w.packets)
}

// release gives room back when its packets have been written. writing is held.
func (w *gathered) release() {
	if w.packets == nil {
		return
	}
	*w.packets = (*w.packets)[:0]
	chunks.Put(w.packets)
	w.packets = nil
	w.any.Store(false)
}

// setMore takes the sender's word. Without more, what waits is written before it returns.
func (g *guard) setMore(more bool) {
	g.gathered.more.Store(more)
	if !more && g.gathered.any.Load() {
		g.flush()
	}
}

// flush writes what waits.
func (g *guard) flush() {
	g.writing <- struct{}{} // whoever has it is done within writeTimeout, and at once when the link fails
	defer func() { <-g.writing }()
	if g.gathered.packets != nil {
		_ = g.write(*g.gathered.packets) // the failure is kept, and ends the link
		g.gathered.release()
	}
}

// intake is the connection to which the bytes of a link come, beneath TLS if there is any. Whoever asks it for more has dealt with all that
// it gave before.
type intake struct {
	net.Conn
	reading atomic.Bool // what it gave last is being dealt with
}

func (i *intake) Read(p []byte) (int, error) {
	i.reading.Store(false)
	n, err := i.Conn.Read(p)
	i.reading.Store(err == nil)
	return n, err
}
