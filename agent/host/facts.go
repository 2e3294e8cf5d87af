package host

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Underlay is the device that carries the node's own address.
type Underlay struct {
	Device  string
	Address netip.Addr
	// MTU in bytes.
	MTU int
}

// FindUnderlay looks for the first of the addresses that is on a device of this
// machine. The error lists what was found instead.
func FindUnderlay(addresses []netip.Addr) (Underlay, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return Underlay{}, fmt.Errorf("list devices: %w", err)
	}
	devices := map[string][]netip.Addr{}
	mtu := map[string]int{}
	for _, l := range links {
		name := l.Attrs().Name
		mtu[name] = l.Attrs().MTU
		list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return Underlay{}, fmt.Errorf("list addresses of %s: %w", name, err)
		}
		for _, a := range list {
			devices[name] = append(devices[name], addrOf(a.IP))
		}
	}
	if device, addr, ok := localAddress(addresses, devices); ok {
		return Underlay{Device: device, Address: addr, MTU: mtu[device]}, nil
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		found = append(found, fmt.Sprintf("%s %v", name, devices[name]))
	}
	if len(addresses) == 0 {
		return Underlay{}, fmt.Errorf("the Node object has no InternalIP in status.addresses; devices here: %s", strings.Join(found, ", "))
	}
	return Underlay{}, fmt.Errorf("none of the Node's InternalIPs %v is on a device of this machine; found: %s", addresses, strings.Join(found, ", "))
}

// KernelDatapath tells whether the running kernel has Open vSwitch's datapath.
func KernelDatapath() bool {
	_, err := netlink.GenlFamilyGet("ovs_datapath")
	return err == nil
}
