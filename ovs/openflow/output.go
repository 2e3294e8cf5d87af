package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

const (
	// firstReserved is the first of the port numbers with a meaning of their own.
	firstReserved uint32 = 0xffffff00
	// firstReserved16 is the same where a port has 16 bits.
	firstReserved16 uint16 = 0xff00
)

// port16 appends a port in 16 bits.
func (e *encoder) port16(p uint32) {
	if p < firstReserved && p >= uint32(firstReserved16) {
		e.fail(fmt.Errorf("port %d has no number of 16 bits", p))
	}
	e.u16(uint16(p))
}

// port32 is a port of 16 bits in 32.
func port32(p uint16) uint32 {
	if p >= firstReserved16 {
		return uint32(p) | 0xffff0000
	}
	return uint32(p)
}

// outputTo appends struct ofp_action_output.
func (e *encoder) outputTo(a flows.OutputTo) {
	if a.Port == flows.PortController {
		e.fail(fmt.Errorf("%s: packets for the controllers are a flows.Controller's", a))
	}
	e.output(a.Port, 0)
}

func (e *encoder) output(port uint32, maxLen uint16) {
	e.standard(actionOutput)
	e.u32(port)
	e.u16(maxLen)
	e.zero(6)
}

func output(port uint32, maxLen uint16) (a flows.Action, known bool) {
	if port == flows.PortController {
		return flows.Controller{MaxLen: maxLen}, true
	}
	return flows.OutputTo{Port: port}, true
}

// outputField appends struct nx_action_output_reg.
func (e *encoder) outputField(a flows.OutputField) {
	if a.From.Bits > 64 {
		e.fail(fmt.Errorf("%s: no port has %d bits", a, a.From.Bits))
	}
	e.nicira(niciraOutputReg)
	e.u16(ofsBits(a.From))
	e.header(a.From)
	e.u16(flows.WholePacket)
	e.zero(6)
}

func (d *decoder) outputField() (a flows.Action, known bool) {
	start, n := rangeOf(d.u16())
	from, ok := d.subfield(start, n)
	return flows.OutputField{From: from}, d.u16() == flows.WholePacket && ok
}

// resubmit appends struct nx_action_resubmit.
func (e *encoder) resubmit(a flows.Resubmit) {
	subtype, port := niciraResubmitTable, a.Port
	if a.CT {
		subtype = niciraResubmitTableCT
	}
	if port == 0 {
		port = flows.PortInPort
	}
	e.nicira(subtype)
	e.port16(port)
	e.u8(uint8(a.Table))
	e.zero(3)
}

func (d *decoder) resubmit(ct bool) (a flows.Action, known bool) {
	port := port32(d.u16())
	switch port {
	case flows.PortInPort:
		port = 0
	case 0:
		return nil, false
	}
	return flows.Resubmit{Port: port, Table: flows.TableID(d.u8()), CT: ct}, true
}

// Properties of Open vSwitch's newer controller action (enum nx_action_controller2_prop_type).
const (
	controllerMaxLen   uint16 = 0
	controllerID       uint16 = 1
	controllerReason   uint16 = 2
	controllerUserData uint16 = 3
	controllerPause    uint16 = 4
	controllerMeter    uint16 = 5
)

// reasonOnWire is a reason as it is on the wire, and back: there no_match comes first.
func reasonOnWire(r flows.Reason) flows.Reason {
	if r < 2 {
		return r ^ 1
	}
	return r
}

// controller appends the oldest of three forms that can say it.
func (e *encoder) controller(a flows.Controller) {
	switch {
	case a.Plain():
		e.output(flows.PortController, a.MaxLen)
		return
	case a.UserData == "" && !a.Pause && a.Meter == 0:
		e.nicira(niciraController)
		e.u16(a.MaxLen)
		e.u16(a.ID)
		e.u8(uint8(reasonOnWire(a.Reason)))
		e.zero(1)
		return
	}
	e.nicira(niciraController2)
	e.zero(6)
	if a.MaxLen != flows.WholePacket {
		e.property(controllerMaxLen, func() { e.u16(a.MaxLen) })
	}
	if a.ID != 0 {
		e.property(controllerID, func() { e.u16(a.ID) })
	}
	if a.Reason != flows.ReasonAction {
		e.property(controllerReason, func() { e.u8(uint8(reasonOnWire(a.Reason))) })
	}
	if a.UserData != "" {
		e.property(controllerUserData, func() { e.bytes([]byte(a.UserData)) })
	}
	if a.Pause {
		e.property(controllerPause, func() {})
	}
	if a.Meter != 0 {
		e.property(controllerMeter, func() { e.u32(a.Meter) })
	}
}

func (d *decoder) controller() (a flows.Action, known bool) {
	c := flows.Controller{MaxLen: d.u16(), ID: d.u16(), Reason: reasonOnWire(flows.Reason(d.u8()))}
	return c, c.Reason <= flows.ReasonPacketOut
}

func (d *decoder) controller2() (a flows.Action, known bool) {
	c := flows.Controller{MaxLen: flows.WholePacket}
	d.skip(6)
	known = true
	for d.more() {
		typ, prop := d.property()
		switch typ {
		case controllerMaxLen:
			c.MaxLen = prop.u16()
		case controllerID:
			c.ID = prop.u16()
		case controllerReason:
			c.Reason = reasonOnWire(flows.Reason(prop.u8()))
		case controllerUserData:
			c.UserData = string(prop.take(len(prop.b)))
		case controllerPause:
			c.Pause = true
		case controllerMeter:
			c.Meter = prop.u32()
		default:
			known = false
		}
		d.fail(prop.err)
	}
	return c, known && c.Reason <= flows.ReasonPacketOut
}
