package sandbox

import (
	"slices"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// effects is how a connection misbehaves. The zero value does not.
type effects struct {
	refuseCode      byte
	delay           time.Duration
	cutAfter        uint64
	swallowPingresp bool
	swallowPuback   bool
	noConnack       bool
	duplicate       bool
	reorder         bool
	cutPublish      uint32 // bytes of the next PUBLISH that are sent; 0: it is not cut
	cutReceived     uint64 // bytes that are received after the CONNECT; 0: as many as come
	cutPuback       uint32 // bytes of the next PUBACK that are missing; 0: it is not cut
}

// merge adds other to e. Each effect is in at most one of them.
func (e *effects) merge(other effects) {
	e.refuseCode |= other.refuseCode
	e.delay += other.delay
	e.cutAfter += other.cutAfter
	e.swallowPingresp = e.swallowPingresp || other.swallowPingresp
	e.swallowPuback = e.swallowPuback || other.swallowPuback
	e.noConnack = e.noConnack || other.noConnack
	e.duplicate = e.duplicate || other.duplicate
	e.reorder = e.reorder || other.reorder
	e.cutPublish += other.cutPublish
	e.cutReceived += other.cutReceived
	e.cutPuback += other.cutPuback
}

type faultKind int

const (
	faultRefuse faultKind = iota
	faultDelay
	faultCut
	faultPingresp
	faultPuback
	faultNoConnack
	faultDuplicate
	faultReorder
	faultCutPublish
	faultCutReceived
	faultCutPuback
	faultKinds // how many there are
)

// fault makes coming connections of a device misbehave in one way.
type fault struct {
	id      device.ID // zero: any device
	kind    faultKind
	left    uint32 // how many connections it will act on; 0: as many as come
	effects effects
}

// maxDelay bounds a delay: beyond it no device waits.
const maxDelay = 10 * time.Minute

// setFault adds f, in the place of one of the same kind for the same device. The device need not exist yet.
func (c *cloud) setFault(f fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = slices.DeleteFunc(c.faults, func(old *fault) bool { return old.id == f.id && old.kind == f.kind })
	c.faults = append(c.faults, &f)
}

// takeFaults is how a coming connection of the device misbehaves. Of each kind, the fault set for the device counts before that
// for any device.
func (c *cloud) takeFaults(id device.ID) effects {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all effects
	for kind := range faultKinds {
		f := c.faultOf(id, kind)
		if f == nil {
			f = c.faultOf(device.ID{}, kind)
		}
		if f == nil {
			continue
		}
		all.merge(f.effects)
		if f.left == 0 {
			continue
		}
		f.left--
		if f.left == 0 {
			c.faults = slices.DeleteFunc(c.faults, func(used *fault) bool { return used == f })
		}
	}
	return all
}

func (c *cloud) faultOf(id device.ID, kind faultKind) *fault {
	for _, f := range c.faults {
		if f.id == id && f.kind == kind {
			return f
		}
	}
	return nil
}

// clearFaults takes away the faults of the device, or all if id is zero.
func (c *cloud) clearFaults(id device.ID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.faults)
	c.faults = slices.DeleteFunc(c.faults, func(f *fault) bool { return id.IsZero() || f.id == id })
	return before - len(c.faults)
}

func (c *cloud) listFaults() []fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]fault, len(c.faults))
	for i, f := range c.faults {
		all[i] = *f
	}
	return all
}
