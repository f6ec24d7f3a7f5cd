package sandbox

import (
	"errors"
	"fmt"
	"time"
)

// sender is the end of a link's way out: it gives each write a deadline, and cuts the connection when a fault says so.
type sender struct {
	link *link
	sent uint64
	// cut is after how many bytes the connection breaks; 0: it does not. It is no less than sent.
	cut uint64
}

func (s *sender) Write(p []byte) (int, error) {
	timeout := writeTimeout
	if s.link.ctx.Err() != nil {
		timeout = farewell
	}
	if err := s.link.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	if s.cut == 0 || s.sent+uint64(len(p)) < s.cut {
		n, err := s.link.conn.Write(p)
		s.sent += uint64(n)
		return n, err
	}
	n := 0
	if s.cut > s.sent { // else TLS would send an empty record
		n, _ = s.link.conn.Write(p[:s.cut-s.sent])
	}
	s.sent = s.cut
	reason := fmt.Sprintf("cut after %d bytes were sent, by a fault", s.cut)
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
	queued
	notSubscribed
	offline
)

// transmit sends a message of QoS 0.
func (l *link) transmit(m message) delivery {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.endReason() != "" {
		return offline
	}
	err := l.write(m)
	if err == nil {
		err = l.out.Flush()
	}
	if err != nil {
		l.end("a message could not be sent: " + err.Error())
		return offline
	}
	return sent
}

// pump sends what waits for the device and may be sent.
func (l *link) pump() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.sendWaiting(); err != nil {
		l.end("a message could not be sent: " + err.Error())
	}
}

// sendWaiting does what pump does. l.writing must be held. Messages that did not leave for certain are sent again over the next
// link, if the session lasts.
func (l *link) sendWaiting() error {
	var gone []*outgoing
	for l.endReason() == "" {
		m, o := l.session.next(l)
		if o == nil {
			break
		}
		if err := l.write(m); err != nil {
			return err
		}
		gone = append(gone, o)
	}
	if err := l.out.Flush(); err != nil {
		return err
	}
	l.session.wrote(gone)
	return nil
}
