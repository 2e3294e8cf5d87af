package openflow

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

const (
	// version is OpenFlow 1.5's number on the wire.
	version = 6
	// headerLen is the length of struct ofp_header in bytes.
	headerLen = 8
	// maxMessage is the longest message that is sent, in bytes. OpenFlow's own
	// limit is 65,535, but Open vSwitch 3.1 accepts a flow of nearly that size and
	// then leaves it out of its dumps: with counters it does not fit into a reply.
	maxMessage = 60_000
)

// kind is a message's type (the specification, "OpenFlow Header", enum ofp_type).
type kind uint8

const (
	kindHello            kind = 0
	kindError            kind = 1
	kindEchoRequest      kind = 2
	kindEchoReply        kind = 3
	kindExperimenter     kind = 4
	kindFeaturesRequest  kind = 5
	kindFeaturesReply    kind = 6
	kindPacketIn         kind = 10
	kindPacketOut        kind = 13
	kindFlowMod          kind = 14
	kindGroupMod         kind = 15
	kindMultipartRequest kind = 18
	kindMultipartReply   kind = 19
	kindBarrierRequest   kind = 20
	kindBarrierReply     kind = 21
	kindSetAsync         kind = 28
	kindMeterMod         kind = 29
	kindBundleControl    kind = 33
	kindBundleAdd        kind = 34
)

var kindNames = map[kind]string{
	kindHello:            "OFPT_HELLO",
	kindError:            "OFPT_ERROR",
	kindEchoRequest:      "OFPT_ECHO_REQUEST",
	kindEchoReply:        "OFPT_ECHO_REPLY",
	kindExperimenter:     "OFPT_EXPERIMENTER",
	kindFeaturesRequest:  "OFPT_FEATURES_REQUEST",
	kindFeaturesReply:    "OFPT_FEATURES_REPLY",
	kindPacketIn:         "OFPT_PACKET_IN",
	kindPacketOut:        "OFPT_PACKET_OUT",
	kindFlowMod:          "OFPT_FLOW_MOD",
	kindGroupMod:         "OFPT_GROUP_MOD",
	kindMultipartRequest: "OFPT_MULTIPART_REQUEST",
	kindMultipartReply:   "OFPT_MULTIPART_REPLY",
	kindBarrierRequest:   "OFPT_BARRIER_REQUEST",
	kindBarrierReply:     "OFPT_BARRIER_REPLY",
	kindSetAsync:         "OFPT_SET_ASYNC",
	kindMeterMod:         "OFPT_METER_MOD",
	kindBundleControl:    "OFPT_BUNDLE_CONTROL",
	kindBundleAdd:        "OFPT_BUNDLE_ADD_MESSAGE",
}

func (k kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("message of type %d", uint8(k))
}

// message is one that has come. Its body is valid until the next is read.
type message struct {
	version uint8
	kind    kind
	xid     uint32
	body    []byte
}

// begin starts a message and returns where; end completes it.
func (e *encoder) begin(k kind, xid uint32) (start int) {
	start = len(e.b)
	e.u8(version)
	e.u8(uint8(k))
	e.u16(0)
	e.u32(xid)
	return start
}

func (e *encoder) end(start int) {
	if n := len(e.b) - start; n > maxMessage {
		e.fail(fmt.Errorf("%w: %d bytes", ErrTooLarge, n))
		return
	}
	e.length(start+2, start)
}

// frame is a whole message with a body that needs no encoding.
func frame(k kind, xid uint32, body []byte) []byte {
	var e encoder
	start := e.begin(k, xid)
	e.bytes(body)
	e.length(start+2, start) // an echo's body may be of any length
	return e.b
}

// frameReader cuts a stream into messages. It holds one at a time.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 1<<16), buf: make([]byte, 0xffff)}
}

// next reads a message. An error means that the stream is at its end or cannot be
// trusted any more.
func (f *frameReader) next() (message, error) {
	head := f.buf[:headerLen]
	if _, err := io.ReadFull(f.r, head); err != nil {
		return message{}, err
	}
	m := message{version: head[0], kind: kind(head[1]), xid: binary.BigEndian.Uint32(head[4:])}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if n < headerLen {
		return message{}, fmt.Errorf("%s of %d bytes: less than its header", m.kind, n)
	}
	m.body = f.buf[headerLen:n]
	if _, err := io.ReadFull(f.r, m.body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return message{}, fmt.Errorf("%s of %d bytes: %w", m.kind, n, err)
	}
	return m, nil
}

// hello is our greeting (the specification, "Hello", struct ofp_hello): this
// version and no other, in a bitmap.
func hello() []byte {
	const versionBitmap = 1 // OFPHET_VERSIONBITMAP
	var e encoder
	start := e.begin(kindHello, 0)
	e.u16(versionBitmap)
	e.u16(8)
	e.u32(1 << version)
	e.end(start)
	return e.b
}

// checkHello tells whether the peer that greets so speaks our version.
func checkHello(m message) error {
	if m.kind == kindError {
		return decodeError(m.body)
	}
	if m.kind != kindHello {
		return fmt.Errorf("%s instead of OFPT_HELLO", m.kind)
	}
	highest := m.version
	d := decoder{b: m.body}
	for len(d.b) >= 4 {
		typ, n := d.u16(), int(d.u16())
		element := d.sub(n - 4)
		d.skip(min(padded(n)-n, len(d.b)))
		if d.err != nil {
			return fmt.Errorf("OFPT_HELLO: %w", d.err)
		}
		if typ == 1 {
			bitmap := element.u32()
			if bitmap&(1<<version) != 0 {
				return nil
			}
			highest = uint8(bits.Len32(bitmap) - 1)
		}
	}
	if highest < version || len(m.body) >= 4 {
		return fmt.Errorf("the switch does not speak OpenFlow 1.5 (version %d), only up to version %d: add OpenFlow15 to the bridge's protocols", version, highest)
	}
	return nil
}
