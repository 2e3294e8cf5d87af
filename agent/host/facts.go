package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Underlay is the device that carries the node's own address.
type Underlay struct {
	Device  string
	Address netip.Addr
	// Other is the first address of the other family that is on this machine, not
	// valid if there is none.
	Other netip.Addr
	// MTU in bytes; the lesser one if Other is on another device.
	MTU int
}

// FindUnderlay looks for the first of the addresses that is on a device of this
// machine, and for the first of the other family. The error lists what was found
// instead.
func FindUnderlay(addresses []netip.Addr) (Underlay, error) {
	list, err := rtnl.Addrs(rtnl.Here, nil, netlink.FAMILY_ALL)
	if err != nil {
		return Underlay{}, fmt.Errorf("list addresses: %w", err)
	}
	var out Underlay
	for _, want := range addresses {
		i := slices.IndexFunc(list, func(a netlink.Addr) bool { return addrOf(a.IP) == want })
		if i < 0 || out.Address.IsValid() && (out.Other.IsValid() || want.Is4() == out.Address.Is4()) {
			continue
		}
		link, err := netlink.LinkByIndex(list[i].LinkIndex)
		if err != nil {
			return Underlay{}, fmt.Errorf("device of %s: %w", want, err)
		}
		if !out.Address.IsValid() {
			out = Underlay{Device: link.Attrs().Name, Address: want, MTU: link.Attrs().MTU}
		} else {
			out.Other, out.MTU = want, min(out.MTU, link.Attrs().MTU)
		}
	}
	if out.Address.IsValid() {
		return out, nil
	}
	var found []string
	for _, a := range list {
		if !a.IP.IsLoopback() && !a.IP.IsLinkLocalUnicast() {
			found = append(found, addrOf(a.IP).String())
		}
	}
	slices.Sort(found)
	here := strings.Join(found, ", ")
	if len(addresses) == 0 {
		return Underlay{}, fmt.Errorf("the Node object has no InternalIP in status.addresses; addresses here: %s", here)
	}
	return Underlay{}, fmt.Errorf("none of the Node's InternalIPs %v is on a device of this machine; addresses here: %s", addresses, here)
}

// LocalAddresses are this machine's, those of the loopback among them.
func LocalAddresses() ([]netip.Addr, error) {
	list, err := rtnl.Addrs(rtnl.Here, nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]netip.Addr, len(list))
	for i, a := range list {
		out[i] = addrOf(a.IP)
	}
	return out, nil
}

// KernelDatapath tells whether the running kernel has Open vSwitch's datapath.
func KernelDatapath() bool {
	_, err := netlink.GenlFamilyGet("ovs_datapath")
	return err == nil
}
