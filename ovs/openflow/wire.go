package openflow

import (
	"encoding/binary"
	"fmt"
)

// encoder appends to a message, in network byte order. It carries the first
// error, so that calls need no check each.
type encoder struct {
	b   []byte
	err error
}

func (e *encoder) u8(v uint8)     { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16)   { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32)   { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64)   { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) bytes(p []byte) { e.b = append(e.b, p...) }

var zeros [16]byte

// zero appends n zero bytes, at most 16.
func (e *encoder) zero(n int) { e.b = append(e.b, zeros[:n]...) }

// pad fills what began at start up to a multiple of 8 bytes, as OpenFlow aligns
// its structures.
func (e *encoder) pad(start int) { e.zero(-(len(e.b) - start) & 7) }

// length writes at offset at how many bytes there are from start on.
func (e *encoder) length(at, start int) {
	if e.err != nil { // what it belongs to may not be there
		return
	}
	n := len(e.b) - start
	if n > 0xffff {
		e.fail(fmt.Errorf("%w: %d bytes", ErrTooLarge, n))
		return
	}
	binary.BigEndian.PutUint16(e.b[at:], uint16(n))
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// decoder reads from bytes that somebody else wrote. It carries the first error;
// after one every read gives zero. Nothing that it returns is longer than its
// input, and the bytes it returns are the input's own.
type decoder struct {
	b   []byte
	err error
	// depth is in how many others the actions stand that are being read.
	depth uint8
}

// take gives the next n bytes, or nil if there are not that many.
func (d *decoder) take(n int) []byte {
	if d.err == nil && (n < 0 || n > len(d.b)) {
		d.fail(fmt.Errorf("%d bytes expected, %d left", n, len(d.b)))
	}
	if d.err != nil {
		d.b = nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) skip(n int) { d.take(n) }

// sub gives the next n bytes a decoder of their own.
func (d *decoder) sub(n int) decoder {
	p := d.take(n)
	return decoder{b: p, err: d.err, depth: d.depth}
}

// more tells whether there is anything left to read.
func (d *decoder) more() bool { return d.err == nil && len(d.b) > 0 }

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// padded is n rounded up to a multiple of 8.
func padded(n int) int { return (n + 7) &^ 7 }
