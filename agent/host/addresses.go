package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// ourAddress marks the addresses that an agent gave to the gateway device, so that its
// successor knows them from an operator's: "noprefixroute" in ip-address(8). It also is
// what is meant: routes are the agent's own.
const ourAddress = unix.IFA_F_NOPREFIXROUTE

// addresses makes the device hold these, and none that an agent gave it earlier. Those
// of others stay.
func (h *Host) addresses(link netlink.Link, want []netip.Prefix) error {
	name := link.Attrs().Name
	list, err := rtnl.Addrs(rtnl.Here, link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var errs []error
	have := map[netip.Prefix]bool{}
	for _, a := range list {
		p := prefixOf(a.IPNet)
		have[p] = true
		if slices.Contains(want, p) || p.Addr().IsLinkLocalUnicast() || a.Flags&ourAddress == 0 && !h.given[p] {
			continue
		}
		if err := h.did(fmt.Sprintf("remove address %s from %s", p, name), netlink.AddrDel(link, &a)); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(h.given, p)
	}
	for _, p := range want {
		h.given[p] = true
		if !have[p] {
			a := &netlink.Addr{IPNet: IPNet(p), Flags: ourAddress}
			if p.Addr().Is6() {
				a.Flags |= unix.IFA_F_NODAD // nobody else on that link could have it
			}
			errs = append(errs, h.did(fmt.Sprintf("add address %s to %s", p, name), netlink.AddrReplace(link, a)))
		}
	}
	return errors.Join(errs...)
}
