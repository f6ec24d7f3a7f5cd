package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// cutWithin breaks the connection n bytes after what has been put on its way, unless it breaks earlier. l.writing must be held.
func (l *link) cutWithin(n int) {
	at := l.sender.sent + uint64(l.out.Buffered()+n)
	if l.sender.cut == 0 || at < l.sender.cut {
		l.sender.cut = at
	}
}

// write puts a message on its way, with what faults make of it. l.writing must be held.
func (l *link) write(m message) error {
	if !l.faults.reorder {
		return l.writePublish(m)
	}
	if l.held == nil {
		l.hold(m)
		return nil
	}
	first := *l.held
	l.held = nil
	l.release.Stop()
	if err := l.writePublish(m); err != nil {
		return err
	}
	return l.writePublish(first)
}

// maxHold is how long a message is held back to be swapped with the next.
const maxHold = time.Second

// hold keeps m back until the next message or, if there is none, for a while. l.writing must be held.
func (l *link) hold(m message) {
	m.payload = bytes.Clone(m.payload) // of QoS 0, it is the caller's
	held := &m
	l.held = held
	l.release = time.AfterFunc(maxHold, func() {
		l.writing.Lock()
		defer l.writing.Unlock()
		if l.held != held { // the next message came at the same moment, or the link has ended
			return
		}
		l.held = nil
		err := l.writePublish(m)
		if err == nil {
			err = l.out.Flush()
		}
		if err != nil {
			l.end("a message could not be sent: " + err.Error())
		}
	})
}

// forgetHeld lets nothing that was held back leave any more: the link has ended.
func (l *link) forgetHeld() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.faults.reorder = false // who still writes fails, and at once
	if l.held != nil {
		l.held = nil
		l.release.Stop()
	}
}

// writePublish puts a PUBLISH on its way: twice, or in part, if a fault says so. l.writing must be held.
func (l *link) writePublish(m message) error {
	l.outbound = appendPublish(l.outbound[:0], m)
	if cut := l.faults.cutPublish; cut > 0 {
		l.cutWithin(min(int(cut), len(l.outbound)))
	}
	if m.qos > 0 && l.faults.duplicate {
		m.duplicate = true
		l.outbound = appendPublish(l.outbound, m)
	}
	_, err := l.out.Write(l.outbound)
	return err
}

// pubackBytes is how long a PUBACK is.
const pubackBytes = 4

// sendPuback acknowledges a message of the device, as far as faults let it.
func (l *link) sendPuback(id uint16) error {
	if missing := int(l.faults.cutPuback); missing > 0 {
		l.writing.Lock()
		defer l.writing.Unlock()
		l.cutWithin(pubackBytes - missing)
		if _, err := l.out.Write(ack(typePuback, id)); err != nil {
			return err
		}
		return l.out.Flush() // fails
	}
	if l.faults.swallowPuback {
		return nil
	}
	return l.sendAck(typePuback, id)
}

// cutReader reads what a device sends, until a fault breaks the connection.
type cutReader struct {
	link *link
	from io.Reader
	left uint64
	cut  uint64
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		_ = r.link.flush() // the answers to what was received
		reason := fmt.Sprintf("cut after %d bytes were received, by a fault", r.cut)
		r.link.abort(reason)
		return 0, errors.New(reason)
	}
	n, err := r.from.Read(p[:min(uint64(len(p)), r.left)])
	r.left -= uint64(n)
	return n, err
}
