package flows

// Field is a packet or metadata field that a match can name or an action can set.
// The constants stand in the order in which Open vSwitch prints a match, but for
// EthType and IPProto: see Match.String.
type Field uint8

// The fields, as ovs-fields(7) describes them. Some are other views of the same bits:
// a match is kept in one of them only (see Match), actions name any.
const (
	PktMark Field = iota
	ConjID
	CTState
	CTZone
	CTMark
	CTLabel
	CTNwSrc
	CTIPv6Src
	CTNwDst
	CTIPv6Dst
	CTNwProto
	CTTPSrc
	CTTPDst
	PacketType
	EthType
	IPProto
	Reg0
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	Reg7
	Reg8
	Reg9
	Reg10
	Reg11
	Reg12
	Reg13
	Reg14
	Reg15
	XReg0 // Reg0 and Reg1, and so on
	XReg1
	XReg2
	XReg3
	XReg4
	XReg5
	XReg6
	XReg7
	XXReg0 // Reg0 to Reg3, and so on
	XXReg1
	XXReg2
	XXReg3
	TunID
	TunSrc
	TunDst
	TunIPv6Src
	TunIPv6Dst
	TunGBPID
	TunGBPFlags
	TunFlags
	TunMetadata0 // and 63 more
)

// The fields behind TunMetadata0 to TunMetadata63.
const (
	Metadata Field = TunMetadata0 + 64 + iota
	InPort
	InPort16 // InPort in 16 bits
	VLANTCI
	VLANVID // 12 bits of VLANTCI, and its bit "there is a tag"
	VLANPCP // 3 bits of VLANTCI
	EthSrc
	EthDst
	IPv4Src
	IPv4Dst
	IPv6Src
	IPv6Dst
	IPv6Label
	ARPSpa
	ARPTpa
	ARPOp
	ARPSha
	ARPTha
	IPTOS // IPDSCP and two bits 0
	IPDSCP
	IPECN
	IPTTL
	MPLSLabel
	MPLSTC
	MPLSTTL
	MPLSBOS
	IPFrag
	TCPSrc
	TCPDst
	UDPSrc
	UDPDst
	SCTPSrc
	SCTPDst
	ICMPType
	ICMPCode
	ICMPv6Type
	ICMPv6Code
	NDTarget
	NDSll
	NDTll
	NDReserved
	NDOptionsType
	TCPFlags
	numFields
)

// NumFields is how many fields there are: each Field below it is one.
const NumFields = numFields

// TunMetadata is one of the 64 options of a tunnel's header that tun_metadata names.
func TunMetadata(i int) Field { return TunMetadata0 + Field(i&63) }

// form is how Open vSwitch writes a field's value.
type form uint8

const (
	decimal form = iota
	hexadecimal
	flowLabel // hexadecimal, of five digits in a match
	mac
	ipv4
	ipv6
	port
	vlanTCI
	packetType
	fragment
	ctStateFlags
	tcpFlags
	tunFlags
)

// access is what may be done with a field.
type access uint8

const (
	masked       access = 1 << iota // a match may name some of its bits
	settable                        // an action may write it
	settableInCT                    // an action within CT may write it
	variable                        // its width is the switch's affair
)

// fieldInfo is what is known of a field.
type fieldInfo struct {
	name   string // in a match
	set    string // in a set_field action, if that differs
	nxm    string // in actions that name parts of fields
	bits   int    // that can be set
	width  int    // bytes on the wire
	form   form
	access access
	needs  Needs
	oxm    OXM // its number in OpenFlow 1.5
	alt    OXM // another that Open vSwitch uses for it within its own actions
}

func (i fieldInfo) setName() string {
	if i.set != "" {
		return i.set
	}
	return i.name
}

// OXM is a field's number on the wire (the specification, "OXM classes"; Open
// vSwitch's nicira-ext.h).
type OXM struct {
	Class  uint16
	Number uint8
}

// Classes of fields.
const (
	ClassNXM0            uint16 = 0x0000 // NXM_OF_*
	ClassNXM1            uint16 = 0x0001 // NXM_NX_*
	ClassBasic           uint16 = 0x8000 // OXM_OF_*
	ClassPacketRegisters uint16 = 0x8001 // OXM_OF_PKT_REG*
	ClassEricsson        uint16 = 0x1000 // ERICOXM_OF_*
)

func nxm(n int) OXM            { return OXM{Class: ClassNXM0, Number: uint8(n)} }
func nx(n int) OXM             { return OXM{Class: ClassNXM1, Number: uint8(n)} }
func of(n int) OXM             { return OXM{Class: ClassBasic, Number: uint8(n)} }
func packetRegister(n int) OXM { return OXM{Class: ClassPacketRegisters, Number: uint8(n)} }
func ericsson(n int) OXM       { return OXM{Class: ClassEricsson, Number: uint8(n)} }

// none is no number: Open vSwitch's class 0 has no number 127.
var none = nxm(127)

// String is the field's name in a match.
func (f Field) String() string { return fieldTable[f].name }

// Name is the field's name in a set_field action: no two fields have the same.
func (f Field) Name() string { return fieldTable[f].setName() }

// Bits is the field's width: how many bits of it can be set.
func (f Field) Bits() int { return fieldTable[f].bits }

// Width is how many bytes the field has on the wire, at most if it is Variable.
func (f Field) Width() int { return fieldTable[f].width }

// Variable tells whether it depends on the switch how many bytes the field has
// (ovs-ofctl(8), add-tlv-map). Package flows knows the last 16 of up to 124.
func (f Field) Variable() bool { return fieldTable[f].access&variable != 0 }

// Maskable tells whether a match may name some of the field's bits only.
func (f Field) Maskable() bool { return fieldTable[f].access&masked != 0 }

// Settable tells whether an action may write the field.
func (f Field) Settable() bool { return fieldTable[f].access&settable != 0 }

// SettableInCT tells whether an action within CT may write the field.
func (f Field) SettableInCT() bool { return fieldTable[f].access&settableInCT != 0 }

// Needs is what a match must say to name the field.
func (f Field) Needs() Needs { return fieldTable[f].needs }

// OXM is the field's number in OpenFlow 1.5.
func (f Field) OXM() OXM { return fieldTable[f].oxm }

// NXM is the other number that Open vSwitch has for the field, if it has one.
func (f Field) NXM() (number OXM, ok bool) { return fieldTable[f].alt, fieldTable[f].alt != none }

// Ones is the mask that has all of a field's bits.
func (f Field) Ones() Value { return onesByField[f] }

var onesByField = func() (list [256]Value) {
	for f := range numFields {
		list[f] = ones(8 * fieldTable[f].width)
	}
	return list
}()

// Indexes of fieldTable. Names in a match are several fields': tp_dst is TCP's, UDP's
// and SCTP's.
var (
	fieldsByName = indexFields()
	fieldBySet   = indexField(fieldInfo.setName)
	fieldByNXM   = indexField(func(i fieldInfo) string { return i.nxm })
)

func indexField(name func(fieldInfo) string) map[string]Field {
	index := make(map[string]Field, numFields)
	for f := range numFields {
		index[name(fieldTable[f])] = f
	}
	return index
}

func indexFields() map[string][]Field {
	index := make(map[string][]Field, numFields)
	for f := range numFields {
		info := fieldTable[f]
		index[info.name] = append(index[info.name], f)
		if info.set != "" {
			index[info.set] = append(index[info.set], f)
		}
	}
	return index
}
