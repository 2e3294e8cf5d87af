package openflow

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sluice-cni/sluice/flows"
)

// Commands of a flow mod (the specification, "Modify Flow Entry Message").
const (
	flowAdd          uint8 = 0
	flowDeleteStrict uint8 = 4
)

// anyone is OFPP_ANY, OFPG_ANY and OFP_NO_BUFFER.
const anyone uint32 = 0xffffffff

// allTables is OFPTT_ALL.
const allTables uint8 = 0xff

// addFlow appends a flow mod that puts a flow in, in place of one with its key.
func (e *encoder) addFlow(xid uint32, f flows.Flow) {
	start := e.beginFlowMod(xid, flowAdd, f)
	e.match(f.Match)
	e.instructions(f.Actions)
	e.end(start)
}

// removeFlow appends a flow mod that takes out the flow with the entry's key.
func (e *encoder) removeFlow(xid uint32, entry Entry) {
	start := e.beginFlowMod(xid, flowDeleteStrict, entry.Flow)
	if entry.Strange == "" {
		e.match(entry.Flow.Match)
	} else if fields, err := strangeMatch(entry.Strange); err != nil {
		e.fail(err)
	} else {
		e.rawMatch(fields)
	}
	e.end(start)
}

// beginFlowMod appends struct ofp_flow_mod up to its match.
func (e *encoder) beginFlowMod(xid uint32, command uint8, f flows.Flow) (start int) {
	start = e.begin(kindFlowMod, xid)
	e.u64(uint64(f.Cookie)) // a removal does not look at it: cookie_mask is 0
	e.u64(0)                // cookie_mask
	e.u8(uint8(f.Table))
	e.u8(command)
	e.u16(f.IdleTimeout)
	e.u16(f.HardTimeout)
	e.u16(f.Priority)
	e.u32(anyone) // buffer_id
	e.u32(anyone) // out_port
	e.u32(anyone) // out_group
	e.u16(uint16(f.Flags))
	e.u16(f.Importance)
	return start
}

// flowDescRequest appends the body of a request for flows ("Individual Flow
// Descriptions", struct ofp_flow_desc_request).
func (e *encoder) flowDescRequest(cookie, mask flows.Cookie) {
	e.u8(allTables)
	e.zero(3)
	e.u32(anyone) // out_port
	e.u32(anyone) // out_group
	e.zero(4)
	e.u64(uint64(cookie))
	e.u64(uint64(mask)) // the bits in which a flow's cookie must be the same
	e.match(nil)
}

// flowDesc reads one struct ofp_flow_desc.
func (d *decoder) flowDesc() Entry {
	n := int(d.u16())
	body := d.sub(n - 2)
	var entry Entry
	body.skip(2)
	entry.Flow.Table = flows.TableID(body.u8())
	body.skip(1)
	entry.Flow.Priority = body.u16()
	idle, hard := body.u16(), body.u16()
	flags, importance := flows.Flags(body.u16()), body.u16()
	entry.Flow.Cookie = flows.Cookie(body.u64())
	match, raw, strange := body.match()
	entry.Stats = body.stats()
	actions, odd := body.instructions()
	d.fail(body.err)
	if odd != "" && strange != "" {
		strange += ", " + odd
	} else if odd != "" {
		strange = odd
	}
	if strange != "" {
		entry.Strange = strangeText(raw, match, strange)
		return entry
	}
	entry.Flow.Match, entry.Flow.Actions = match, actions
	entry.Flow.IdleTimeout, entry.Flow.HardTimeout, entry.Flow.Importance = idle, hard, importance
	entry.Flow.Flags = flags & flows.StateFlags
	return entry
}

// Counters of a flow (the specification, "Flow Stats Structures", enum oxs_ofb_stat_fields).
const (
	oxsPackets uint8 = 4
	oxsBytes   uint8 = 5
)

// stats reads struct ofp_stats.
func (d *decoder) stats() (s flows.Stats) {
	d.skip(2)
	n := int(d.u16())
	list := d.sub(n - 4)
	d.skip(padded(n) - n)
	for list.more() {
		h := oxmHeader(list.u32())
		value := list.sub(h.length())
		if h.class() != classOXS {
			continue
		}
		switch h.number() {
		case oxsPackets:
			s.Packets = value.u64()
		case oxsBytes:
			s.Bytes = value.u64()
		}
		list.fail(value.err)
	}
	d.fail(list.err)
	return s
}

// strangePrefix begins Entry.Strange. Then come, in hexadecimal, the fields of the
// match as they are on the wire (all that a removal needs beside table and
// priority), and for people the match if that could be read and what could not.
const strangePrefix = "oxm:"

func strangeText(raw []byte, match flows.Match, why string) string {
	text := strangePrefix + hex.EncodeToString(raw) + " ("
	if m := match.String(); m != "" {
		text += m + "; "
	}
	return text + why + ")"
}

// strangeMatch is the fields of the match that strangeText wrote.
func strangeMatch(text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, strangePrefix)
	if !ok {
		return nil, fmt.Errorf("strange flow %q: it was not dumped by this connection", text)
	}
	digits, _, _ := strings.Cut(rest, " ")
	fields, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("strange flow %q: %w", text, err)
	}
	return fields, nil
}
