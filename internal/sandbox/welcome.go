package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// welcome deals with the first packet. It returns nil when the conversation goes on.
func (l *link) welcome(p packet) error {
	record := loginRecord{received: time.Now(), tls: l.tls, serverName: l.serverName, remoteAddress: l.socket.RemoteAddr().String()}
	in, err := parseConnect(p)
	if err != nil {
		record.reason = "closed without an answer: " + err.Error()
		l.cloud.recordLogin(record)
		return err
	}
	if id, err := platform.ParseUsername(in.username); err == nil {
		l.id, record.id = id, id
	}
	record.clientID = in.clientID

	l.faults = l.cloud.takeFaults(l.id)
	l.sender.cut = l.faults.cutAfter
	if cut := l.faults.cutReceived; cut > 0 {
		l.in = bufio.NewReader(&cutReader{link: l, from: l.in, left: cut, cut: cut})
	}
	if err := l.delay(l.faults.delay); err != nil {
		return err
	}
	switch {
	case l.faults.noConnack:
		record.reason = "not answered, by a fault"
		l.cloud.recordLogin(record)
		return l.ignore()
	case l.faults.refuseCode > 0:
		return l.answer(record, in, refuse(l.faults.refuseCode, "refused by a fault"))
	case in.will:
		record.reason = "closed without an answer: the platform does not support a will"
		l.cloud.recordLogin(record)
		return violation("CONNECT has a will, which the platform does not support")
	}
	v := l.cloud.judge(in, l.tls)
	l.purpose, l.autoSubscribe, l.customCalls = v.purpose, v.autoSubscribe, v.customCalls
	if v.code == codeAccepted {
		l.patience = in.keepAlive + in.keepAlive/2
		if v.purpose.registers() {
			l.patience, l.until = 0, time.Now().Add(platform.RegistrationWindow)
		}
	}
	return l.answer(record, in, v)
}

// answer sends the CONNACK of a verdict, and what follows it. It returns nil when the device was accepted.
func (l *link) answer(record loginRecord, in connect, v verdict) error {
	// Nobody else can write before the CONNACK is out.
	l.writing.Lock()
	defer l.writing.Unlock()
	present := false
	if v.code == codeAccepted && !v.purpose.registers() {
		var there bool
		if there, present = l.cloud.online(l, in.cleanSession); !there {
			v.code, v.reason = codeBadCredentials, "the device was deleted or disabled while it logged in"
		}
	}
	record.code, record.answered, record.reason = v.code, true, v.reason
	l.cloud.recordLogin(record) // before the device can tell anybody
	log := l.cloud.log.With("device", l.id, "code", v.code, "reason", v.reason, "tls", l.tls, "remote", record.remoteAddress)
	if v.code != codeAccepted {
		log.Warn("refused", "meaning", platform.Connack(v.code, v.purpose.registers()).Meaning)
	} else if v.purpose.registers() {
		log.Info("registered")
	} else {
		log.Info("online", "connection", l.number, "session_present", present)
	}
	present = present && in.level >= 4 // MQTT 3.1 has no such flag
	if _, err := l.out.Write(connack(v.code, present)); err != nil {
		return err
	}
	if v.code != codeAccepted {
		return fmt.Errorf("refused with CONNACK %d: %s", v.code, v.reason)
	}
	if v.purpose.registers() {
		if err := l.writePublish(v.push); err != nil {
			return err
		}
	}
	return l.sendWaiting()
}

// delay waits, unless the sandbox stops.
func (l *link) delay(d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}

// ignore reads what comes and answers nothing, until the device leaves.
func (l *link) ignore() error {
	if err := l.await(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, l.in); err != nil {
		return err
	}
	return errors.Join(errDone, io.EOF)
}
