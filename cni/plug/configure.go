package plug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopbackIndex is lo's index in every network namespace (LOOPBACK_IFINDEX).
const loopbackIndex = 1

// Configure makes the container's end usable: lo up; its addresses as /32 and /128,
// without duplicate address detection; up; for each router a route with link scope to
// it alone, the default route through it, and a permanent neighbour. A container that
// has these routes by another interface gets them in a table of their own. It may run
// while others work on the host end.
//
// On an error the cable is half configured: the caller rolls it back. The error names
// the device and the step.
func (c *Cable) Configure(ctx context.Context) error {
	if err := c.find(); err != nil {
		return err
	}
	for _, s := range c.steps() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("in %q: %w", c.spec.NetNS, step(c.spec.IfName, s.doing, err))
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("in %q: %w", c.spec.NetNS, step(c.spec.IfName, s.doing, err))
		}
	}
	return nil
}

// find opens the way into the container and finds the cable's end there.
func (c *Cable) find() error {
	if err := c.openPod(); err != nil {
		return err
	}
	end, err := c.pod.LinkByName(c.spec.IfName)
	if err != nil {
		return step(c.spec.IfName, fmt.Sprintf("find it in %q", c.spec.NetNS), err)
	}
	c.IfIndex = end.Attrs().Index
	return nil
}

func loopbackUp(pod *netlink.Handle) error {
	return pod.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: loopbackIndex, Name: "lo"}})
}

// podStep is one thing to do in the container.
type podStep struct {
	doing string
	run   func() error
}

func (c *Cable) steps() []podStep {
	end := c.podEnd()
	steps := []podStep{{"set lo up", func() error { return loopbackUp(c.pod) }}}
	if c.spec.hasIPv6() || c.spec.ChecksumOffloadOff {
		steps = append(steps, podStep{"set what only a thread inside can set", func() error { return inNetNS(c.ns, c.inside) }})
	}
	for _, a := range c.spec.Addresses {
		steps = append(steps, podStep{fmt.Sprintf("add address %s", a), func() error {
			return c.pod.AddrAdd(end, &netlink.Addr{IPNet: host(a), Flags: unix.IFA_F_NODAD})
		}})
	}
	steps = append(steps,
		podStep{"limit what it sends", func() error { return limit(c.pod, c.IfIndex, c.spec.MTU, c.spec.Limit) }},
		podStep{"set it up", func() error { return c.pod.LinkSetUp(end) }})
	for _, r := range c.spec.Routers {
		steps = append(steps,
			podStep{fmt.Sprintf("add routes by router %s", r), func() error { return c.route(r) }},
			podStep{fmt.Sprintf("add permanent neighbour %s (%s)", r, c.spec.RouterMAC), func() error {
				return c.pod.NeighSet(&netlink.Neigh{
					LinkIndex: c.IfIndex, Family: family(r), State: netlink.NUD_PERMANENT,
					IP: r.AsSlice(), HardwareAddr: c.spec.RouterMAC,
				})
			}})
	}
	return steps
}

// route leads to the router and by it to everything. The container's first interface
// has the main table; a further one, which finds these routes taken, has a table of
// its own for what the container sends from its addresses: what leaves by another
// interface with them would be dropped as spoofed.
func (c *Cable) route(router netip.Addr) error {
	err := c.routes(router, unix.RT_TABLE_MAIN)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	table := furtherTables + c.IfIndex
	if err := c.routes(router, table); err != nil {
		return fmt.Errorf("in table %d: %w", table, err)
	}
	for _, a := range c.spec.Addresses {
		if a.Is4() != router.Is4() {
			continue
		}
		if err := c.pod.RuleAdd(furtherRule(a, table)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("rule for %s: %w", a, err)
		}
	}
	return nil
}

// routes adds both routes to a table, or none.
func (c *Cable) routes(router netip.Addr, table int) error {
	link := &netlink.Route{LinkIndex: c.IfIndex, Dst: host(router), Scope: netlink.SCOPE_LINK, Table: table}
	if err := c.pod.RouteAdd(link); err != nil {
		return err
	}
	err := c.pod.RouteAdd(&netlink.Route{LinkIndex: c.IfIndex, Dst: everything(router), Gw: router.AsSlice(), Table: table})
	if err != nil {
		_ = c.pod.RouteDel(link) // the cable goes, or another table is taken
	}
	return err
}

// furtherTables is where the routing tables of further interfaces begin: this plus
// the interface's index. furtherPriority is their rules' place, before main's.
const (
	furtherTables   = 1000
	furtherPriority = 1000
)

func furtherRule(a netip.Addr, table int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Src, r.Table, r.Priority = family(a), host(a), table, furtherPriority
	return r
}

// inside is what has no netlink message. It runs in the container's namespace.
func (c *Cable) inside() error {
	if c.spec.hasIPv6() {
		// Runtimes and images may have turned IPv6 off for new interfaces. No router
		// advertises anything on the cable, so the container need not ask for one; nor
		// has anybody else its link-local address.
		for _, s := range [...]struct{ device, name, value string }{
			{"lo", "disable_ipv6", "0"},
			{c.spec.IfName, "disable_ipv6", "0"},
			{c.spec.IfName, "accept_ra", "0"},
			{c.spec.IfName, "router_solicitations", "0"},
			{c.spec.IfName, "accept_dad", "0"},
		} {
			if err := setSysctl(s.device, s.name, s.value); err != nil {
				return err
			}
		}
	}
	if c.spec.ChecksumOffloadOff {
		if err := setTxChecksum(c.spec.IfName, false); err != nil {
			return fmt.Errorf("turn transmit checksum offload off: %w", err)
		}
	}
	return nil
}

// host is an address as a prefix of its whole length.
func host(a netip.Addr) *net.IPNet { return network(netip.PrefixFrom(a, a.BitLen())) }

// network is the library's form of a prefix.
func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// everything is the default route's destination, of the family of a.
func everything(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, a.BitLen()/8), Mask: net.CIDRMask(0, a.BitLen())}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
