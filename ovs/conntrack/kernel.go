package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel is the kernel's tracker, in the network namespace of the calling thread: of the host in zone
// 0, and of the kernel datapath in the zones of its flows. Forgetting needs CAP_NET_ADMIN.
type Kernel struct{}

// Of linux/netfilter/nfnetlink_conntrack.h, what the netlink library lacks.
const (
	ctaID        = 12
	ctaZone      = 18
	ctaFilter    = 25
	filterOrig   = 1
	filterReply  = 2
	ctMessages   = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet        = ctMessages | 1
	ctDelete     = ctMessages | 2
	attrTypeMask = 0x3fff
)

// The flags of a filter (net/netfilter/nf_conntrack_netlink.c, CTA_FILTER_F_*): what of a tuple is
// looked at.
const (
	filterSrc = 1 << iota
	filterDst
	_
	filterProtocol
	filterSrcPort
	filterDstPort
)

// Forget implements Table. The kernel walks its table for each match and family, and tells of the
// connections that are like it (from Linux 5.8 on; an older one tells of all, to the same end).
func (Kernel) Forget(ctx context.Context, matches ...Match) error {
	var errs []error
	for _, m := range matches {
		if err := m.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, six := range m.families() {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if err := m.forget(six); err != nil {
				errs = append(errs, fmt.Errorf("forget %s: %w", m, err))
			}
		}
	}
	return errors.Join(errs...)
}

// forget deletes the match's connections of one family.
func (m Match) forget(six bool) error {
	found, err := m.list(six)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range found {
		req := request(ctDelete, unix.NLM_F_ACK, six)
		for _, a := range c.name {
			req.AddData(nl.NewRtAttr(int(a.Attr.Type), a.Value))
		}
		if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// attempts is how often the kernel is asked for a list that changes while it is told.
const attempts = 20

// list are the match's connections of one family.
func (m Match) list(six bool) (out []connection, err error) {
	for range attempts {
		if out, err = m.listOnce(six); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

func (m Match) listOnce(six bool) (out []connection, err error) {
	req := request(ctGet, unix.NLM_F_DUMP, six)
	original, originalFlags := m.attr(nl.CTA_TUPLE_ORIG, m.Original)
	reply, replyFlags := m.attr(nl.CTA_TUPLE_REPLY, m.Reply)
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	filter.AddRtAttr(filterOrig, nl.Uint32Attr(originalFlags))
	filter.AddRtAttr(filterReply, nl.Uint32Attr(replyFlags))
	req.AddData(original)
	req.AddData(reply)
	req.AddData(filter)
	var bad error
	err = req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		c, err := parse(message)
		if err == nil && m.like(c) {
			out = append(out, c)
		}
		bad = err
		return err == nil
	})
	return out, errors.Join(err, bad)
}

func request(kind, flags int, six bool) *nl.NetlinkRequest {
	family := uint8(unix.AF_INET)
	if six {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(kind, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// attr is a tuple as the kernel is asked for it, and what of it is meant.
func (m Match) attr(kind int, t Tuple) (*nl.RtAttr, uint32) {
	flags := uint32(filterProtocol)
	out := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	ip := nl.NewRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil)
	proto := nl.NewRtAttr(nl.CTA_TUPLE_PROTO|unix.NLA_F_NESTED, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{m.Protocol})
	add := func(a netip.AddrPort, four, six, port int, addressFlag, portFlag uint32) {
		if a.Addr().IsValid() {
			if a.Addr().Is4() {
				ip.AddRtAttr(four, a.Addr().AsSlice())
				flags |= addressFlag
			} else {
				// The kernel's filter leaves out just those that have the IPv6 address (seen with
				// Linux 6.18): it is not asked for it.
				ip.AddRtAttr(six, a.Addr().AsSlice())
			}
		}
		if a.Port() != 0 {
			proto.AddRtAttr(port, nl.BEUint16Attr(a.Port()))
			flags |= portFlag
		}
	}
	add(t.Src, nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT, filterSrc, filterSrcPort)
	add(t.Dst, nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT, filterDst, filterDstPort)
	out.AddChild(ip)
	out.AddChild(proto)
	return out, flags
}

// connection is one that the kernel tells of.
type connection struct {
	// name are the attributes by which it is known: of the same tuple there may have come
	// another since, which has another id.
	name            []syscall.NetlinkRouteAttr
	zone            uint16
	protocol        uint8
	original, reply Tuple
}

// like tells whether the connection is the match's. The kernel's filter looks at no zone, and at the
// ports of TCP and UDP only.
func (m Match) like(c connection) bool {
	return c.zone == m.Zone && c.protocol == m.Protocol && m.Original.like(c.original) && m.Reply.like(c.reply)
}

func (t Tuple) like(o Tuple) bool { return sideLike(t.Src, o.Src) && sideLike(t.Dst, o.Dst) }

func sideLike(want, got netip.AddrPort) bool {
	return (!want.Addr().IsValid() || want.Addr() == got.Addr()) && (want.Port() == 0 || want.Port() == got.Port())
}

// parse reads what a message tells of a connection: a nfgenmsg, then attributes.
func parse(message []byte) (connection, error) {
	var c connection
	if len(message) < nl.SizeofNfgenmsg {
		return c, errors.New("the kernel's message is too short")
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	if err != nil {
		return c, fmt.Errorf("the kernel's message: %w", err)
	}
	for _, a := range attrs {
		switch a.Attr.Type & attrTypeMask {
		case nl.CTA_TUPLE_ORIG:
			c.name = append(c.name, a)
			err = c.tuple(a.Value, &c.original)
		case nl.CTA_TUPLE_REPLY:
			err = c.tuple(a.Value, &c.reply)
		case ctaZone:
			c.name = append(c.name, a)
			if len(a.Value) >= 2 {
				c.zone = binary.BigEndian.Uint16(a.Value)
			}
		case ctaID:
			c.name = append(c.name, a)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// tuple reads one direction.
func (c *connection) tuple(data []byte, t *Tuple) error {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return fmt.Errorf("a tuple of the kernel's: %w", err)
	}
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	for _, a := range attrs {
		of := a.Attr.Type & attrTypeMask
		if of != nl.CTA_TUPLE_IP && of != nl.CTA_TUPLE_PROTO {
			continue
		}
		parts, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return fmt.Errorf("a tuple of the kernel's: %w", err)
		}
		for _, p := range parts {
			kind := p.Attr.Type & attrTypeMask
			switch {
			case of == nl.CTA_TUPLE_IP && (kind == nl.CTA_IP_V4_SRC || kind == nl.CTA_IP_V6_SRC):
				src, _ = netip.AddrFromSlice(p.Value)
			case of == nl.CTA_TUPLE_IP:
				dst, _ = netip.AddrFromSlice(p.Value)
			case kind == nl.CTA_PROTO_NUM && len(p.Value) > 0:
				c.protocol = p.Value[0]
			case kind == nl.CTA_PROTO_SRC_PORT && len(p.Value) >= 2:
				srcPort = binary.BigEndian.Uint16(p.Value)
			case kind == nl.CTA_PROTO_DST_PORT && len(p.Value) >= 2:
				dstPort = binary.BigEndian.Uint16(p.Value)
			}
		}
	}
	t.Src, t.Dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	return nil
}
