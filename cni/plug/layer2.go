package plug

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Raise makes the container's end of a second network usable for frames: lo up, its limit,
// promiscuous if wanted, up. It has no addresses yet.
func (c *Cable) Raise(promiscuous bool) error {
	if err := c.find(); err != nil {
		return err
	}
	err := raise(c.pod, c.ns, c.spec.IfName, c.IfIndex, c.spec.ChecksumOffloadOff, promiscuous)
	if err == nil {
		err = limit(c.pod, c.IfIndex, c.spec.MTU, c.spec.Limit)
	}
	if err != nil {
		return fmt.Errorf("in %q: %w", c.spec.NetNS, err)
	}
	return nil
}

func raise(pod *netlink.Handle, ns *os.File, ifName string, index int, offloadOff, promiscuous bool) error {
	if err := loopbackUp(pod); err != nil {
		return step("lo", "set it up", err)
	}
	end := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index, Name: ifName}}
	if offloadOff {
		if err := inNetNS(ns, func() error { return setTxChecksum(ifName, false) }); err != nil {
			return step(ifName, "turn transmit checksum offload off", err)
		}
	}
	if promiscuous {
		if err := pod.SetPromiscOn(end); err != nil {
			return step(ifName, "make it promiscuous", err)
		}
	}
	if err := pod.LinkSetUp(end); err != nil {
		return step(ifName, "set it up", err)
	}
	return nil
}

// Dressing is what an IPAM plugin has given to an interface of a second network.
type Dressing struct {
	// Addresses are with the length of their subnet's prefix.
	Addresses []netip.Prefix
	// Routes are by the interface; Via is the zero Addr for what is on the link.
	Routes []Route
}

// Dress gives the container's interface its addresses and routes, and announces them once. Where another interface
// has a route to the same, as the pod network's has the default, the routes stand in a
// table of the interface's own, which is for what is sent from its addresses.
func Dress(ctx context.Context, netNS, ifName string, d Dressing) error {
	ns, err := openNetNS(netNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	pod, err := netlinkIn(ns, netNS)
	if err != nil {
		return err
	}
	defer pod.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.put(pod, ns, ifName); err != nil {
		return fmt.Errorf("in %q: %w", netNS, err)
	}
	return nil
}

func (d Dressing) put(pod *netlink.Handle, ns *os.File, ifName string) error {
	link, err := pod.LinkByName(ifName)
	if err != nil {
		return step(ifName, "find it", err)
	}
	for _, a := range d.Addresses {
		if a.Addr().Is6() {
			// Runtimes and images may have turned it off for new interfaces.
			if err := inNetNS(ns, func() error { return setSysctl(ifName, "disable_ipv6", "0") }); err != nil {
				return step(ifName, "turn IPv6 on", err)
			}
		}
		// Its plugin knows whether anybody else has it.
		if err := pod.AddrAdd(link, &netlink.Addr{IPNet: network(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return step(ifName, fmt.Sprintf("add address %s", a), err)
		}
	}
	if err := d.routes(pod, link); err != nil {
		return err
	}
	for _, a := range d.Addresses {
		err := inNetNS(ns, func() error { return announce(link.Attrs().Index, link.Attrs().HardwareAddr, a.Addr()) })
		if err != nil {
			return step(ifName, fmt.Sprintf("announce %s", a.Addr()), err)
		}
	}
	return nil
}

func (d Dressing) routes(pod *netlink.Handle, link netlink.Link) error {
	table := furtherTables + link.Attrs().Index
	own := false
	for _, r := range d.Routes {
		err := pod.RouteAdd(r.on(link, unix.RT_TABLE_MAIN))
		if errors.Is(err, unix.EEXIST) {
			own = true
			err = pod.RouteAdd(r.on(link, table))
			if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EEXIST) { // by a router that only main knows, or told twice
				err = pod.RouteReplace(r.on(link, table))
			}
		}
		if err != nil {
			return step(link.Attrs().Name, fmt.Sprintf("add route %s", r), err)
		}
	}
	if !own {
		return nil
	}
	for _, a := range d.Addresses {
		onLink := Route{Dst: a.Masked()}
		if err := pod.RouteReplace(onLink.on(link, table)); err != nil {
			return step(link.Attrs().Name, fmt.Sprintf("add route %s in table %d", onLink, table), err)
		}
		if err := pod.RuleAdd(furtherRule(a.Addr(), table)); err != nil && !errors.Is(err, unix.EEXIST) {
			return step(link.Attrs().Name, fmt.Sprintf("add rule for %s", a.Addr()), err)
		}
	}
	return nil
}

// on is the kernel's form of the route.
func (r Route) on(link netlink.Link, table int) *netlink.Route {
	out := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: network(r.Dst), Table: table}
	if r.Via.IsValid() {
		out.Gw = r.Via.AsSlice()
	} else {
		out.Scope = netlink.SCOPE_LINK
	}
	return out
}

// SetAlias changes the alias of a link on the host.
func SetAlias(hostName, alias string) error {
	link, err := netlink.LinkByName(hostName)
	if err == nil {
		err = netlink.LinkSetAlias(link, asAlias(alias))
	}
	if err != nil {
		return step(hostName, "set alias", err)
	}
	return nil
}
