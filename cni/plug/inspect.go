package plug

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Interface is what is really there in a container.
type Interface struct {
	Index int
	// HostIndex is the index of the other end; it means nothing if that end is not
	// in the host's namespace.
	HostIndex int
	// Kind is the link's, "veth" for a cable.
	Kind string
	MAC  net.HardwareAddr
	MTU  int
	Up   bool
	// Promiscuous tells whether it was made to take frames for any MAC.
	Promiscuous bool
	// Rate is how fast it may send, in bits a second; 0: as fast as it can.
	Rate uint64
	// TxChecksum tells whether transmit checksum offload is on.
	TxChecksum bool
	// Addresses are the interface's, without IPv6 link-local ones, in order.
	Addresses []netip.Prefix
	// Routes are those through the interface, of the main table and of its own if it has
	// one, without those that the kernel makes by itself, in order.
	Routes []Route
	// Neighbours are the permanent ones, in order.
	Neighbours []Neighbour
}

// Route is a route through the interface; Via is the zero Addr if the destination is
// on the link.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// String is the route as ip-route(8) writes it.
func (r Route) String() string {
	if !r.Via.IsValid() {
		return r.Dst.String()
	}
	return fmt.Sprintf("%s via %s", r.Dst, r.Via)
}

// Neighbour is a permanent neighbour entry.
type Neighbour struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// String is the address and the MAC.
func (n Neighbour) String() string { return fmt.Sprintf("%s %s", n.Addr, n.MAC) }

// Inspect tells what a container's interface is like. The error may wrap
// [*NetNSError] or [ErrNoInterface].
func Inspect(netNS, ifName string) (*Interface, error) {
	i, err := inspect(netNS, ifName)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", ifName, err)
	}
	return i, nil
}

func inspect(path, ifName string) (*Interface, error) {
	ns, err := openNetNS(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	h, err := netlinkIn(ns, path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	link, err := h.LinkByName(ifName)
	if noDevice(err) {
		return nil, fmt.Errorf("in %q: %w", path, ErrNoInterface)
	}
	if err != nil {
		return nil, fmt.Errorf("in %q: %w", path, err)
	}
	a := link.Attrs()
	i := &Interface{Index: a.Index, HostIndex: a.ParentIndex, Kind: link.Type(), MAC: a.HardwareAddr, MTU: a.MTU, Up: a.RawFlags&unix.IFF_UP != 0, Promiscuous: a.RawFlags&unix.IFF_PROMISC != 0}
	if i.Rate, err = limitOf(h, link); err != nil {
		return nil, fmt.Errorf("in %q: %w", path, err)
	}
	for _, read := range []func(*netlink.Handle, netlink.Link) error{i.readAddresses, i.readRoutes, i.readNeighbours} {
		if err := read(h, link); err != nil {
			return nil, fmt.Errorf("in %q: %w", path, err)
		}
	}
	if err := inNetNS(ns, func() (err error) { i.TxChecksum, err = txChecksum(ifName); return err }); err != nil {
		return nil, fmt.Errorf("in %q: read checksum offload: %w", path, err)
	}
	return i, nil
}

func (i *Interface) readAddresses(h *netlink.Handle, link netlink.Link) error {
	list, err := rtnl.Addrs(h, link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		if p, ok := prefix(a.IPNet); ok && (p.Addr().Is4() || !p.Addr().IsLinkLocalUnicast()) {
			i.Addresses = append(i.Addresses, p)
		}
	}
	slices.SortFunc(i.Addresses, netip.Prefix.Compare)
	return nil
}

func (i *Interface) readRoutes(h *netlink.Handle, link netlink.Link) error {
	list, err := rtnl.Routes(h, netlink.FAMILY_ALL,
		&netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range list {
		dst, ok := prefix(r.Dst)
		if !ok || r.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		via, _ := netip.AddrFromSlice(r.Gw)
		i.Routes = append(i.Routes, Route{Dst: dst, Via: via.Unmap()})
	}
	slices.SortFunc(i.Routes, func(a, b Route) int {
		return cmp.Or(a.Dst.Compare(b.Dst), a.Via.Compare(b.Via))
	})
	return nil
}

func (i *Interface) readNeighbours(h *netlink.Handle, link netlink.Link) error {
	list, err := rtnl.Neighbours(h, link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range list {
		if addr, ok := netip.AddrFromSlice(n.IP); ok && n.State&netlink.NUD_PERMANENT != 0 {
			i.Neighbours = append(i.Neighbours, Neighbour{Addr: addr.Unmap(), MAC: n.HardwareAddr})
		}
	}
	slices.SortFunc(i.Neighbours, func(a, b Neighbour) int { return a.Addr.Compare(b.Addr) })
	return nil
}

// prefix is the typed form of the library's.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}
