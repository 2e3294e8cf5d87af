// Package conntrack makes a connection tracker forget connections: those that are like a
// part of a tuple, in one zone, and no others.
//
// Who has the connections depends on the datapath. The kernel's has them in the kernel's own
// tables, beside those of the host (zone 0): [Kernel]. The userspace datapath has them in
// ovs-vswitchd: [Userspace].
package conntrack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/ovs/appctl"
)

// IP protocols.
const (
	TCP  = 6
	UDP  = 17
	SCTP = 132
)

// Match is what connections have in common: the zone and the protocol, and what Original and Reply
// say. Of what a zero value says nothing is asked.
type Match struct {
	Zone     uint16
	Protocol uint8
	// Original is of the packets of who opened the connection, as they came; Reply of the
	// answers, as they come: their source is the address that the destination was translated to.
	Original, Reply Tuple
}

// Tuple is a part of one direction's addresses and ports. An AddrPort may have a port alone:
// netip.AddrPortFrom(netip.Addr{}, 53).
type Tuple struct{ Src, Dst netip.AddrPort }

// addresses are those that are asked for.
func (m Match) addresses() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.AddrPort{m.Original.Src, m.Original.Dst, m.Reply.Src, m.Reply.Dst} {
		if a.Addr().IsValid() {
			out = append(out, a.Addr())
		}
	}
	return out
}

// families are those that connections of the match may be of: whether IPv6.
func (m Match) families() []bool {
	if list := m.addresses(); len(list) > 0 {
		return []bool{list[0].Is6()}
	}
	return []bool{false, true}
}

// check finds what no connection can be like: that would be a mistake of the caller's, and forgetting
// more than was meant is worse than none.
func (m Match) check() error {
	for _, a := range m.addresses() {
		if a.Is6() != m.addresses()[0].Is6() || a.Is4In6() {
			return fmt.Errorf("forget %s: addresses of both families", m)
		}
	}
	if m.Original == (Tuple{}) && m.Reply == (Tuple{}) {
		return fmt.Errorf("forget %s: nothing is asked for", m)
	}
	if m.Protocol == 0 {
		return fmt.Errorf("forget %s: the protocol is missing", m)
	}
	return nil
}

// String is the match in words that Parse reads.
func (m Match) String() string {
	return fmt.Sprintf("zone=%d protocol=%d original=%s reply=%s", m.Zone, m.Protocol, m.Original, m.Reply)
}

// String is "SRC>DST"; an address or port that is not asked for is "*".
func (t Tuple) String() string { return side(t.Src) + ">" + side(t.Dst) }

func side(a netip.AddrPort) string {
	address, port := "*", "*"
	if a.Addr().IsValid() {
		address = a.Addr().String()
	}
	if a.Port() != 0 {
		port = strconv.Itoa(int(a.Port()))
	}
	return net.JoinHostPort(address, port)
}

// Parse reads what String wrote.
func Parse(text string) (m Match, err error) {
	var original, reply string
	if _, err := fmt.Sscanf(text, "zone=%d protocol=%d original=%s reply=%s", &m.Zone, &m.Protocol, &original, &reply); err != nil {
		return m, fmt.Errorf("%q is no match of connections: %w", text, err)
	}
	for into, text := range map[*Tuple]string{&m.Original: original, &m.Reply: reply} {
		src, dst, _ := strings.Cut(text, ">")
		var errs [2]error
		into.Src, errs[0] = parseSide(src)
		into.Dst, errs[1] = parseSide(dst)
		if err := errors.Join(errs[:]...); err != nil {
			return m, fmt.Errorf("%q is no match of connections: %w", text, err)
		}
	}
	return m, nil
}

func parseSide(text string) (netip.AddrPort, error) {
	address, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var a netip.Addr
	var p uint64
	if address != "*" {
		if a, err = netip.ParseAddr(address); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if port != "*" {
		if p, err = strconv.ParseUint(port, 10, 16); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// Table is a connection tracker.
type Table interface {
	// Forget deletes the connections that are like one of the matches. That there is none is no
	// error. After an error some may be left.
	Forget(ctx context.Context, matches ...Match) error
}

// Userspace is the tracker of a vswitchd's userspace datapath, which must be its only one: Open
// vSwitch 3.1 does not take the datapath's name beside two tuples.
type Userspace struct{ OVS appctl.Client }

// Forget implements Table. It costs a walk over all connections for each match, and the daemon does
// nothing else meanwhile.
func (u Userspace) Forget(ctx context.Context, matches ...Match) error {
	var errs []error
	for _, m := range matches {
		if err := m.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		_, err := u.OVS.Call(ctx, "dpctl/flush-conntrack", fmt.Sprintf("zone=%d", m.Zone), m.text(m.Original), m.text(m.Reply))
		if err != nil {
			errs = append(errs, fmt.Errorf("forget %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// text is a tuple in the words of ovs-dpctl(8), "flush-conntrack".
func (m Match) text(t Tuple) string {
	out := []string{fmt.Sprintf("ct_nw_proto=%d", m.Protocol)}
	add := func(a netip.AddrPort, address, port string) {
		if a.Addr().IsValid() {
			kind := "ct_nw_"
			if a.Addr().Is6() {
				kind = "ct_ipv6_"
			}
			out = append(out, kind+address+"="+a.Addr().String())
		}
		if a.Port() != 0 {
			out = append(out, fmt.Sprintf("%s=%d", port, a.Port()))
		}
	}
	add(t.Src, "src", "ct_tp_src")
	add(t.Dst, "dst", "ct_tp_dst")
	return strings.Join(out, ",")
}

// Of is the tracker of a bridge's datapath_type, "netdev" or "system".
func Of(datapath string, ovs appctl.Client) Table {
	if cmp.Or(datapath, "system") == "netdev" {
		return Userspace{ovs}
	}
	return Kernel{}
}
