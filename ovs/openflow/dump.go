package openflow

import (
	"context"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Types of multipart messages (the specification, "Multipart Messages", enum
// ofp_multipart_type).
const (
	multipartFlowDesc      uint16 = 1
	multipartTableStats    uint16 = 3
	multipartPortStats     uint16 = 4
	multipartGroupStats    uint16 = 6
	multipartGroupDesc     uint16 = 7
	multipartMeterStats    uint16 = 9
	multipartMeterDesc     uint16 = 10
	multipartMeterFeatures uint16 = 11
	multipartPortDesc      uint16 = 13
	multipartFlowMonitor   uint16 = 16
)

// multipartMore is OFPMPF_REPLY_MORE: another part follows.
const multipartMore uint16 = 1

// maxDump is how many flows or groups a dump may have: more can only be a fault,
// and memory is finite.
const maxDump = 1 << 21

// Dump implements Switch.
func (c *Conn) Dump(ctx context.Context) ([]Entry, error) {
	return c.DumpCookies(ctx, 0, 0)
}

// DumpCookies implements Switch.
func (c *Conn) DumpCookies(ctx context.Context, cookie, mask flows.Cookie) ([]Entry, error) {
	var e encoder
	e.flowDescRequest(cookie, mask)
	return dump(ctx, c, "dump flows", multipartFlowDesc, e.b, (*decoder).flowDesc)
}

// GroupEntry is a group that the switch holds.
type GroupEntry struct {
	Group flows.Group
	// Strange says what of it package flows cannot express; of Group, only ID is
	// set then, which is enough to remove it.
	Strange string
}

// DumpGroups reads all groups that the switch holds, in no order.
func (c *Conn) DumpGroups(ctx context.Context) ([]GroupEntry, error) {
	var e encoder
	e.groupDescRequest(allGroups)
	return dump(ctx, c, "dump groups", multipartGroupDesc, e.b, (*decoder).groupDesc)
}

// DumpGroupsOf implements [Switch]. It asks for all at once, each by itself.
func (c *Conn) DumpGroupsOf(ctx context.Context, ids []uint32) ([]GroupEntry, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	requests := make([][]byte, len(ids))
	for i, id := range ids {
		var e encoder
		e.groupDescRequest(id)
		requests[i] = e.b
	}
	return dumpEach(ctx, c, fmt.Sprintf("dump %d groups", len(ids)), multipartGroupDesc, requests, (*decoder).groupDesc)
}

// dump makes a multipart request, which what names in an error, and decodes each
// part of the reply as it comes, while the switch writes the next.
func dump[T any](ctx context.Context, c *Conn, what string, typ uint16, request []byte, one func(*decoder) T) ([]T, error) {
	return dumpEach(ctx, c, what, typ, [][]byte{request}, one)
}

// dumpEach is dump with one request or more, which are sent all at once.
func dumpEach[T any](ctx context.Context, c *Conn, what string, typ uint16, requests [][]byte, one func(*decoder) T) ([]T, error) {
	var list []T
	left := len(requests)
	outcome := make(chan error, 1)
	l := c.begin(left, func(_ int, m message) {
		if m.kind == kindError {
			tell(outcome, decodeError(m.body))
			return
		}
		more, err := decodePart(m, typ, &list, one)
		if !more {
			left--
		}
		if err != nil || left == 0 {
			tell(outcome, err)
		}
	})
	defer c.end(l)
	var e encoder
	for i, request := range requests {
		start := e.begin(kindMultipartRequest, l.base+uint32(i))
		e.u16(typ)
		e.u16(0) // flags
		e.zero(4)
		e.bytes(request)
		e.end(start)
	}
	if err := c.send(ctx, e.b); err != nil {
		return nil, fmt.Errorf("%s: send the request: %w", what, err)
	}
	if err := c.await(ctx, l, outcome); err != nil {
		c.end(l) // list is ours again
		return nil, fmt.Errorf("%s: wait for the rest of the reply after %d entries: %w", what, len(list), err)
	}
	return list, nil
}

// decodePart appends what one part of a multipart reply holds.
func decodePart[T any](m message, typ uint16, list *[]T, one func(*decoder) T) (more bool, err error) {
	if m.kind != kindMultipartReply {
		return false, fmt.Errorf("%s instead of %s", m.kind, kindMultipartReply)
	}
	d := decoder{b: m.body}
	got, flags := d.u16(), d.u16()
	d.skip(4)
	if d.err == nil && got != typ {
		return false, fmt.Errorf("multipart reply of type %d instead of %d", got, typ)
	}
	for d.more() {
		entry := one(&d)
		if d.err != nil {
			break
		}
		if len(*list) == maxDump {
			return false, fmt.Errorf("more than %d entries", maxDump)
		}
		*list = append(*list, entry)
	}
	if d.err != nil {
		return false, fmt.Errorf("malformed entry: %w", d.err)
	}
	return flags&multipartMore != 0, nil
}
