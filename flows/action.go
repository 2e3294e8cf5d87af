package flows

import (
	"fmt"
	"strconv"
)

// Action is one instruction of a flow or of a group's bucket. The types in this
// file are all there are; each is comparable.
type Action interface {
	// String is the action in ovs-ofctl's syntax.
	String() string
	action()
}

// OutputTo sends the packet out by an OpenFlow port; PortInPort is the one it came by.
type OutputTo struct{ Port uint32 }

// Goto goes on in a later table and does not come back (OpenFlow's goto_table
// instruction: the last of a flow).
type Goto struct{ Table TableID }

// Resubmit looks the packet up in another table, then goes on behind this action:
// the call of a subroutine.
type Resubmit struct{ Table TableID }

// SetField writes the bits of a field that are set in Mask.
type SetField struct {
	Field       Field
	Value, Mask Value
}

// Move copies a whole field to another of the same width.
type Move struct{ From, To Field }

// DecTTL decrements TTL or hop limit; a packet whose TTL runs out goes no further.
type DecTTL struct{}

// ToGroup hands the packet to a group.
type ToGroup struct{ Group uint32 }

func (OutputTo) action() {}
func (Goto) action()     {}
func (Resubmit) action() {}
func (SetField) action() {}
func (Move) action()     {}
func (DecTTL) action()   {}
func (ToGroup) action()  {}

// Set writes a whole field.
func Set(f Field, v Value) SetField { return SetField{f, v, ones(f.Bits())} }

// SetBits writes the bits of a field (of at most 64) that are set in mask.
func SetBits(f Field, value, mask uint64) SetField {
	return SetField{f, Uint(value & mask), Uint(mask)}
}

func (a OutputTo) String() string {
	if name, ok := reservedPorts[a.Port]; ok {
		return name
	}
	return "output:" + strconv.FormatUint(uint64(a.Port), 10)
}

func (a Goto) String() string     { return fmt.Sprintf("goto_table:%d", uint8(a.Table)) }
func (a Resubmit) String() string { return fmt.Sprintf("resubmit(,%d)", uint8(a.Table)) }
func (DecTTL) String() string     { return "dec_ttl" }
func (a ToGroup) String() string  { return fmt.Sprintf("group:%d", a.Group) }

func (a SetField) String() string {
	info := fieldTable[a.Field]
	text := a.Field.text(a.Value)
	if a.Mask != ones(info.bits) {
		if info.form == decimal {
			text = hexText(a.Value)
		}
		text += "/" + maskText(a.Field, a.Mask)
	}
	return "set_field:" + text + "->" + info.setName()
}

// maskText is a set_field's mask as ovs-ofctl prints it.
func maskText(f Field, mask Value) string {
	switch fieldTable[f].form {
	case mac, ipv4, ipv6:
		return f.text(mask)
	default:
		return hexText(mask)
	}
}

func (a Move) String() string {
	return "move:" + fieldTable[a.From].nxm + "[]->" + fieldTable[a.To].nxm + "[]"
}
