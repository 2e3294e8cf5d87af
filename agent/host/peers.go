package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Hop is the neighbour by which a peer is reached.
type Hop struct {
	Peer    netip.Addr
	Device  string
	Address netip.Addr
	MAC     net.HardwareAddr
}

// usable are the states in which a neighbour's MAC is known.
const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT

// Hops are the neighbours by which the peers are reached, as far as the kernel knows
// them: each peer itself, or the router before it. Those that it does not know it is
// asked to resolve; that ends with a neighbour notification (see Watch).
func Hops(peers []netip.Addr) ([]Hop, error) {
	var out []Hop
	var errs []error
	for _, p := range peers {
		routes, err := netlink.RouteGet(p.AsSlice())
		if err != nil || len(routes) == 0 {
			errs = append(errs, fmt.Errorf("no route to peer %s: %w", p, err))
			continue
		}
		hop := Hop{Peer: p, Address: p}
		if routes[0].Gw != nil {
			hop.Address = addrOf(routes[0].Gw)
		}
		link, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err != nil {
			errs = append(errs, fmt.Errorf("device to peer %s: %w", p, err))
			continue
		}
		hop.Device = link.Attrs().Name
		if hop.MAC, err = neighbour(link, hop.Address); err != nil {
			errs = append(errs, err)
		}
		if hop.MAC != nil {
			out = append(out, hop)
		}
	}
	return out, errors.Join(errs...)
}

// neighbour is the MAC that the kernel knows for an address, or nil; then it has
// been asked to find it (NTF_USE, as if a packet were to be sent).
func neighbour(link netlink.Link, addr netip.Addr) (net.HardwareAddr, error) {
	list, err := rtnl.Neighbours(rtnl.Here, link.Attrs().Index, family(addr))
	if err != nil {
		return nil, fmt.Errorf("list neighbours on %s: %w", link.Attrs().Name, err)
	}
	for _, n := range list {
		if n.State&usable != 0 && addrOf(n.IP) == addr {
			return n.HardwareAddr, nil
		}
	}
	err = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: addr.AsSlice(), Family: family(addr), State: netlink.NUD_NONE, Flags: unix.NTF_USE,
	})
	if err != nil {
		return nil, fmt.Errorf("resolve %s on %s: %w", addr, link.Attrs().Name, err)
	}
	return nil, nil
}
