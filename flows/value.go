package flows

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Value is a field's value or mask: big-endian, right-aligned in 128 bits.
type Value [16]byte

// Uint is v as a Value.
func Uint(v uint64) Value {
	var x Value
	binary.BigEndian.PutUint64(x[8:], v)
	return x
}

// Uint64 is the low 64 bits.
func (v Value) Uint64() uint64 { return binary.BigEndian.Uint64(v[8:]) }

// MAC is a hardware address of 6 bytes as a Value.
func MAC(a net.HardwareAddr) Value {
	var x Value
	copy(x[10:], a)
	return x
}

// IP is an address as a Value, of 32 or 128 bits.
func IP(a netip.Addr) Value {
	var x Value
	b := a.AsSlice()
	copy(x[16-len(b):], b)
	return x
}

// LowBits is the mask of the last n bits.
func LowBits(n int) Value { return ones(n) }

// ones is the mask that has all of a field's bits.
func ones(bits int) Value { return prefixMask(bits, bits) }

// prefixMask has the first n of a field's bits.
func prefixMask(bits, n int) Value {
	var x Value
	for i := 0; i < n; i++ {
		pos := 128 - bits + i
		x[pos/8] |= 1 << (7 - pos%8)
	}
	return x
}

// prefixLen is the number of leading ones of a mask, ok only if nothing follows them.
func (v Value) prefixLen(bits int) (n int, ok bool) {
	for n < bits && v[(128-bits+n)/8]&(1<<(7-(128-bits+n)%8)) != 0 {
		n++
	}
	return n, v == prefixMask(bits, n)
}

// And is the value with only those bits that are set in the mask.
func (v Value) And(m Value) Value {
	for i := range v {
		v[i] &= m[i]
	}
	return v
}

// hexText is 0x… without leading zeros, and plain 0 for none, as in dumps.
func hexText(v Value) string {
	s := strings.TrimLeft(hex.EncodeToString(v[:]), "0")
	if s == "" {
		return "0"
	}
	return "0x" + s
}

// text writes a whole value as a set_field action has it.
func (f Field) text(v Value) string {
	switch fieldTable[f].form {
	case mac:
		return net.HardwareAddr(v[10:]).String()
	case ipv4:
		return netip.AddrFrom4([4]byte(v[12:])).String()
	case ipv6:
		return ipv6Text(netip.AddrFrom16(v))
	case port:
		p := uint32(v.Uint64())
		if f.Width() == 2 && p >= firstReserved16 {
			p |= 0xffff0000
		}
		return portText(p)
	case tunFlags:
		return flagsText(v.Uint64(), tunFlagNames)
	case hexadecimal, flowLabel, vlanTCI:
		return hexText(v)
	default:
		return strconv.FormatUint(v.Uint64(), 10)
	}
}

// ipv6Text is an address as inet_ntop(3) writes it: one that only has its last 32
// bits ends like IPv4.
func ipv6Text(a netip.Addr) string {
	b := a.As16()
	if b[12] == 0 && b[13] == 0 || [12]byte(b[:12]) != [12]byte{} {
		return a.String()
	}
	return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
}

// masked writes a value and the bits of it that count, as a set_field action has it.
func (f Field) maskedText(v, mask Value) string {
	if mask == f.Ones() {
		return f.text(v)
	}
	switch fieldTable[f].form {
	case ipv4, ipv6:
		if n, ok := mask.prefixLen(8 * f.Width()); ok {
			return f.text(v) + "/" + strconv.Itoa(n)
		}
		return f.text(v) + "/" + f.text(mask)
	case mac:
		return f.text(v) + "/" + f.text(mask)
	default:
		return f.text(v) + "/" + hexText(mask)
	}
}

// parse reads what text writes, and any other form that ovs-ofctl accepts for it.
func (f Field) parse(s string) (Value, error) {
	info := fieldTable[f]
	switch info.form {
	case mac:
		a, err := net.ParseMAC(s)
		if err != nil || len(a) != 6 {
			return Value{}, fmt.Errorf("%s: %q is no MAC address", info.name, s)
		}
		return MAC(a), nil
	case ipv4, ipv6:
		a, err := netip.ParseAddr(s)
		if err != nil || a.Is4() != (info.form == ipv4) || a.Zone() != "" {
			return Value{}, fmt.Errorf("%s: %q is no address of its family", info.name, s)
		}
		return IP(a), nil
	case port:
		p, err := parsePort(s)
		if err == nil && info.bits == 16 {
			p &= 0xffff
		}
		return Uint(uint64(p)), err
	case tunFlags:
		if v, ok := parseFlags(s, tunFlagNames); ok {
			return Uint(v), nil
		}
	}
	v, ok := parseNumber(s)
	if !ok || v.And(f.Ones()) != v {
		return Value{}, fmt.Errorf("%s: %q is no number of %d bits", info.name, s, info.bits)
	}
	return v, nil
}

// parseMask reads a mask: a value, or the length of an address's prefix.
func (f Field) parseMask(s string) (Value, error) {
	switch fieldTable[f].form {
	case ipv4, ipv6:
		if n, err := strconv.Atoi(s); err == nil {
			if n < 0 || n > f.Bits() {
				return Value{}, fmt.Errorf("%s: prefix length %d", f, n)
			}
			return prefixMask(f.Bits(), n), nil
		}
	}
	return f.parse(s)
}

// parseMasked reads value or value/mask.
func (f Field) parseMasked(s string) (v, mask Value, err error) {
	value, bits, hasMask := strings.Cut(s, "/")
	if v, err = f.parse(value); err != nil || !hasMask {
		return v, f.Ones(), err
	}
	mask, err = f.parseMask(bits)
	return v, mask, err
}

// parseNumber reads a number of up to 128 bits in hexadecimal, of 64 in decimal.
func parseNumber(s string) (v Value, ok bool) {
	digits, isHex := strings.CutPrefix(s, "0x")
	if !isHex {
		n, err := strconv.ParseUint(s, 10, 64)
		return Uint(n), err == nil
	}
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hex.DecodeString(digits)
	for len(b) > 16 && b[0] == 0 {
		b = b[1:]
	}
	if err != nil || len(b) == 0 || len(b) > 16 {
		return v, false
	}
	copy(v[16-len(b):], b)
	return v, true
}
