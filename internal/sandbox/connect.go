package sandbox

import (
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// connect is a CONNECT as it came, before anything in it is believed.
type connect struct {
	protocol     string
	level        byte
	cleanSession bool
	will         bool
	keepAlive    time.Duration
	clientID     string
	username     string
	password     device.Secret
}

// supported reports whether the CONNECT is one of MQTT 3.1 or 3.1.1. Of others nothing but protocol and level was read.
func (c connect) supported() bool {
	return c.protocol == "MQTT" && c.level == 4 || c.protocol == "MQIsdp" && c.level == 3
}

// Bits of a CONNECT's flags.
const (
	flagReserved     = 1 << 0
	flagCleanSession = 1 << 1
	flagWill         = 1 << 2
	flagsOfWill      = 7 << 3 // its QoS and whether it is retained
	flagPassword     = 1 << 6
	flagUsername     = 1 << 7
)

// parseConnect reads a CONNECT. Protocol and level come first, and decide whether the rest has a meaning: a CONNECT of MQTT 5
// is refused with nothing more of it read.
func parseConnect(p packet) (connect, error) {
	if p.kind != typeConnect || p.flags != 0 {
		return connect{}, violation(fmt.Sprintf("the first packet begins with %#02x and is no CONNECT", p.kind<<4|p.flags))
	}
	f := fields{rest: p.body}
	c := connect{protocol: f.text(), level: f.uint8()}
	if f.err != nil || !c.supported() {
		return c, f.err
	}
	flags := f.uint8()
	c.keepAlive = time.Duration(f.uint16()) * time.Second
	c.cleanSession, c.will = flags&flagCleanSession != 0, flags&flagWill != 0
	switch {
	case f.err != nil:
	case flags&flagReserved != 0:
		f.err = violation("a reserved flag of CONNECT is set")
	case !c.will && flags&flagsOfWill != 0:
		f.err = violation("CONNECT describes a will and has none")
	case flags&flagPassword != 0 && flags&flagUsername == 0:
		f.err = violation("CONNECT has a password and no user name")
	}
	c.clientID = f.text()
	if c.will {
		f.bytes() // its topic
		f.bytes() // its message
	}
	if flags&flagUsername != 0 {
		c.username = f.text()
	}
	if flags&flagPassword != 0 {
		c.password = device.NewSecret(string(f.bytes()))
	}
	return c, f.end()
}
