package plug

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/sluice-cni/sluice/cni/wire"
)

// Spec says what the cable is to be.
type Spec struct {
	// HostName is the name of the host end, by [HostName].
	HostName string
	// Alias says in words whose cable it is (ip link shows it, and [HostEnds]
	// returns it); at most 255 bytes, the rest is cut off.
	Alias string
	// NetNS is the path of the container's network namespace.
	NetNS string
	// IfName is the interface's name in the container.
	IfName string
	// MAC is the container end's hardware address.
	MAC net.HardwareAddr
	// HostMAC is the host end's; nil leaves it random.
	HostMAC net.HardwareAddr
	// MTU is both ends' link maximum in bytes.
	MTU int
	// Addresses are the container's own, set as /32 or /128.
	Addresses []netip.Addr
	// Routers are the next hops, one for each family of Addresses, and RouterMAC
	// is the hardware address of all of them.
	Routers   []netip.Addr
	RouterMAC net.HardwareAddr
	// ChecksumOffloadOff makes the container compute transport checksums by itself,
	// as Open vSwitch's userspace datapath needs: with the offload on, ping works
	// through it, and TCP and UDP do not.
	ChecksumOffloadOff bool
	// Limit is how fast the container may send; the zero value: as fast as it can.
	Limit Limit
	// Layer2 is a cable of a second network: what of addresses, routes and neighbours
	// there is to be, [Cable.Dress] is told.
	Layer2 bool
}

// HostName is the deterministic name of an attachment's host end; see
// wire.HostName, which the executable uses for a DEL without the agent.
func HostName(network, containerID, ifName string) string {
	return wire.HostName(network, containerID, ifName)
}

// check refuses what the kernel would take, or refuse without saying why.
func (s *Spec) check() error {
	switch {
	case s.HostName == "" || len(s.HostName) > 15:
		return fmt.Errorf("host end's name %q must have 1 to 15 bytes", s.HostName)
	case s.IfName == "" || len(s.IfName) > 15:
		return fmt.Errorf("interface name %q must have 1 to 15 bytes", s.IfName)
	case len(s.MAC) != 6:
		return fmt.Errorf("MAC %q must have 6 bytes", s.MAC)
	case s.MTU < 68 || s.MTU > 65535:
		return fmt.Errorf("MTU %d must be between 68 and 65535", s.MTU)
	case s.Layer2:
		return nil
	case len(s.Addresses) == 0:
		return fmt.Errorf("no address")
	case len(s.RouterMAC) != 6:
		return fmt.Errorf("router's MAC %q must have 6 bytes", s.RouterMAC)
	}
	for _, a := range s.Addresses {
		if !a.IsValid() || a.Is4In6() {
			return fmt.Errorf("bad address %s", a)
		}
		routers := 0
		for _, r := range s.Routers {
			if r.Is4() == a.Is4() {
				routers++
			}
		}
		if routers != 1 {
			return fmt.Errorf("address %s has %d routers of its family, not one", a, routers)
		}
	}
	return nil
}

// hasIPv6 tells whether the container gets an IPv6 address.
func (s *Spec) hasIPv6() bool {
	for _, a := range s.Addresses {
		if a.Is6() {
			return true
		}
	}
	return false
}
