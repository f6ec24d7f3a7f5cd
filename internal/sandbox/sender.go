package sandbox

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// sender is the end of a link's way out: it gives each write a deadline, and cuts the connection when a fault says so.
type sender struct {
	link *link
	sent uint64
}

func (s *sender) Write(p []byte) (int, error) {
	timeout := writeTimeout
	if s.link.ctx.Err() != nil {
		timeout = farewell
	}
	if err := s.link.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	cut := s.link.faults.cutAfter
	if cut == 0 || s.sent+uint64(len(p)) < cut {
		n, err := s.link.conn.Write(p)
		s.sent += uint64(n)
		return n, err
	}
	n, _ := s.link.conn.Write(p[:cut-s.sent])
	s.sent = cut
	reason := fmt.Sprintf("cut after %d bytes, by a fault", cut)
	s.link.abort(reason)
	return n, errors.New(reason)
}

// flushFirst reads from the connection. Before it may have to wait there, it sends what is to be sent: so many answers leave
// together when many packets came together.
type flushFirst struct{ link *link }

func (f flushFirst) Read(p []byte) (int, error) {
	if err := f.link.flush(); err != nil {
		return 0, err
	}
	return f.link.conn.Read(p)
}

func (l *link) flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.out.Flush()
}

// send puts a packet on its way; flushFirst sees it off.
func (l *link) send(packet []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.out.Write(packet)
	return err
}

func (l *link) sendAck(kind byte, id uint16, codes ...byte) error {
	return l.send(ack(kind, id, codes...))
}

// delivery is what became of a message to a device.
type delivery int

const (
	sent delivery = iota + 1
	notSubscribed
	offline
)

// errNoIDs says that a device acknowledges nothing.
var errNoIDs = errors.New("the device has left as many messages unacknowledged as MQTT can number")

// deliver sends m to the device, with the QoS that m has, if the device wants it.
func (l *link) deliver(m message) (delivery, error) {
	if !l.wants(m.topic) {
		return notSubscribed, nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.endReason() != "" {
		return offline, nil
	}
	if m.qos > 0 {
		if len(l.unacked) >= math.MaxUint16 {
			return 0, errNoIDs
		}
		m.id = l.nextID()
	}
	l.outbound = appendPublish(l.outbound[:0], m)
	_, err := l.out.Write(l.outbound)
	if err == nil {
		err = l.out.Flush()
	}
	if err != nil {
		l.end("a message could not be sent: " + err.Error())
		return offline, nil
	}
	return sent, nil
}

// nextID is a packet identifier that is free. l.writing must be held.
func (l *link) nextID() uint16 {
	for {
		l.lastID++
		if _, taken := l.unacked[l.lastID]; l.lastID != 0 && !taken {
			l.unacked[l.lastID] = struct{}{}
			return l.lastID
		}
	}
}
