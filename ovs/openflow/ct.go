package openflow

import (
	"fmt"
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
)

// Flags of struct nx_action_conntrack.
const (
	ctCommit uint16 = 1
	ctForce  uint16 = 2
)

// noTable is NX_CT_RECIRC_NONE.
const noTable uint8 = 255

// ct appends struct nx_action_conntrack.
func (e *encoder) ct(a flows.CT) {
	e.nicira(niciraCT)
	e.u16(bit(a.Commit, ctCommit) | bit(a.Force, ctForce))
	if a.ZoneFrom.Bits > 0 {
		e.header(a.ZoneFrom)
		e.u16(ofsBits(a.ZoneFrom))
	} else {
		e.u32(0)
		e.u16(a.Zone)
	}
	table := noTable
	if a.Recirculate {
		table = uint8(a.Table)
	}
	e.u8(table)
	e.zero(3)
	e.u16(a.ALG)
	e.actions(a.Exec)
}

func (d *decoder) ct() (a flows.Action, known bool) {
	flags := d.u16()
	ct := flows.CT{Commit: flags&ctCommit != 0, Force: flags&ctForce != 0}
	known = flags&^(ctCommit|ctForce) == 0
	header, zone := d.take(4), d.u16()
	if h := (&decoder{b: header}); d.err == nil && string(header) != string(zeros[:4]) {
		start, n := rangeOf(zone)
		var ok bool
		ct.ZoneFrom, ok = h.subfield(start, n)
		known = known && ok
	} else {
		ct.Zone = zone
	}
	if table := d.u8(); table != noTable {
		ct.Recirculate, ct.Table = true, flows.TableID(table)
	}
	d.skip(3)
	ct.ALG = d.u16()
	list, ok := d.nested()
	ct.Exec = list
	return ct, known && ok
}

// Flags of struct nx_action_nat, and what of a range follows them.
const (
	natSource      uint16 = 1
	natDestination uint16 = 2
	natPersistent  uint16 = 4
	natHash        uint16 = 8
	natRandom      uint16 = 16

	natIPv4Min uint16 = 1
	natIPv4Max uint16 = 2
	natIPv6Min uint16 = 4
	natIPv6Max uint16 = 8
	natPortMin uint16 = 16
	natPortMax uint16 = 32
)

var natKinds = map[uint16]flows.NATKind{0: flows.NATKnown, natSource: flows.NATSource, natDestination: flows.NATDestination}

// nat appends struct nx_action_nat.
func (e *encoder) nat(a flows.NAT) {
	if a.Max.IsValid() && (!a.Min.IsValid() || a.Min.Is4() != a.Max.Is4()) {
		e.fail(fmt.Errorf("%s: a range of two families", a))
	}
	e.nicira(niciraNAT)
	e.zero(2)
	e.u16(bit(a.Kind == flows.NATSource, natSource) | bit(a.Kind == flows.NATDestination, natDestination) |
		bit(a.Persistent, natPersistent) | bit(a.Hash, natHash) | bit(a.Random, natRandom))
	minBit, maxBit := natIPv4Min, natIPv4Max
	if a.Min.Is6() {
		minBit, maxBit = natIPv6Min, natIPv6Max
	}
	e.u16(bit(a.Min.IsValid(), minBit) | bit(a.Max.IsValid(), maxBit) | bit(a.PortMin != 0, natPortMin) | bit(a.PortMax != 0, natPortMax))
	e.bytes(a.Min.AsSlice())
	e.bytes(a.Max.AsSlice())
	if a.PortMin != 0 {
		e.u16(a.PortMin)
	}
	if a.PortMax != 0 {
		e.u16(a.PortMax)
	}
}

func (d *decoder) nat() (a flows.Action, known bool) {
	d.skip(2)
	flags, has := d.u16(), d.u16()
	var nat flows.NAT
	nat.Kind, known = natKinds[flags&(natSource|natDestination)]
	nat.Persistent, nat.Hash, nat.Random = flags&natPersistent != 0, flags&natHash != 0, flags&natRandom != 0
	if has&natIPv4Min != 0 {
		nat.Min = d.addr(4)
	}
	if has&natIPv4Max != 0 {
		nat.Max = d.addr(4)
	}
	if has&natIPv6Min != 0 {
		nat.Min = d.addr(16)
	}
	if has&natIPv6Max != 0 {
		nat.Max = d.addr(16)
	}
	if has&natPortMin != 0 {
		nat.PortMin = d.u16()
	}
	if has&natPortMax != 0 {
		nat.PortMax = d.u16()
	}
	return nat, known && natSpeakable(nat, flags, has)
}

// natSpeakable tells whether text can say it: addresses of one family, no ports without
// addresses, no last without a first, nothing of a connection that is known already.
func natSpeakable(a flows.NAT, flags, has uint16) bool {
	switch {
	case flags>>5 != 0 || has>>6 != 0:
		return false
	case has&(natIPv4Min|natIPv4Max) != 0 && has&(natIPv6Min|natIPv6Max) != 0:
		return false
	case !a.Min.IsValid():
		return a == flows.NAT{Kind: a.Kind}
	case a.Kind == flows.NATKnown, a.PortMin == 0 && has&(natPortMin|natPortMax) != 0, a.PortMax == 0 && has&natPortMax != 0:
		return false
	}
	return true
}

func (d *decoder) addr(n int) netip.Addr {
	a, _ := netip.AddrFromSlice(d.take(n))
	return a
}

func bit(set bool, b uint16) uint16 {
	if set {
		return b
	}
	return 0
}
