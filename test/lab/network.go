package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const (
	// wireBridge is the Linux bridge that stands for the network between the
	// nodes, in a namespace of its own.
	wireBridge = "br0"
	// nodeNIC is a node's network card.
	nodeNIC = "phy"
	// outsideNIC is that of the outside machine.
	outsideNIC = "eth0"
	// DefaultMTU is the underlay's link maximum in bytes.
	DefaultMTU = 1500
)

// inside is a handle on the devices, addresses and routes of one namespace.
type inside struct {
	*netlink.Handle
	fd vnetns.NsHandle
}

func openNetns(path string) (*inside, error) {
	fd, err := vnetns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	handle, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		fd.Close()
		return nil, fmt.Errorf("netlink in network namespace %s: %w", path, err)
	}
	return &inside{handle, fd}, nil
}

func (n *inside) Close() {
	n.Handle.Close()
	n.fd.Close()
}

// createNetns makes the namespace at a path below netnsDir.
func createNetns(path string) error {
	_, err := netns.Create(filepath.Base(path))
	return err
}

func deleteNetns(path string) error { return netns.Delete(filepath.Base(path)) }

// createWire makes the network that nodes are connected to.
func (p places) createWire(mtu int) error {
	if err := createNetns(p.wireNetns()); err != nil {
		return err
	}
	wire, err := openNetns(p.wireNetns())
	if err != nil {
		return err
	}
	defer wire.Close()
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = wireBridge, mtu
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := wire.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make the underlay's bridge: %w", err)
	}
	if err := wire.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("set the underlay's bridge up: %w", err)
	}
	return nil
}

// connect gives the namespace a network card on the underlay. plug is the name
// of the cable's other end, unique on the wire.
func (p places) connect(path, nic, plug string, mtu int) error {
	wire, err := openNetns(p.wireNetns())
	if err != nil {
		return err
	}
	defer wire.Close()
	there, err := openNetns(path)
	if err != nil {
		return err
	}
	defer there.Close()
	bridge, err := wire.LinkByName(wireBridge)
	if err != nil {
		return fmt.Errorf("find the underlay's bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = plug, mtu, bridge.Attrs().Index
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: nic, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(there.fd)}
	if err := wire.LinkAdd(cable); err != nil {
		return fmt.Errorf("connect %s to the underlay: %w", filepath.Base(path), err)
	}
	card, err := there.LinkByName(nic)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", nic, filepath.Base(path), err)
	}
	if err := setIPv6(path, nic, "accept_dad", "0"); err != nil {
		return err
	}
	if err := errors.Join(there.LinkSetUp(card), wire.LinkSetUp(cable)); err != nil {
		return fmt.Errorf("set the cable to %s up: %w", filepath.Base(path), err)
	}
	return nil
}

// disconnect takes a cable off the wire, now and not when the kernel comes round
// to removing the namespace at its other end.
func (p places) disconnect(plug string) error {
	wire, err := openNetns(p.wireNetns())
	if err != nil {
		return err
	}
	defer wire.Close()
	link, err := wire.LinkByName(plug)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = wire.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("take %s off the underlay: %w", plug, err)
	}
	return nil
}

// address gives a device its address on the underlay and, if gateway is valid,
// the default route. What is there already is left as it is.
func (n *inside) address(device string, address, gateway netip.Addr) error {
	link, err := n.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	bits := underlay.Bits()
	if address.Is6() {
		bits = underlayIPv6.Bits()
	}
	prefix := net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(bits, address.BitLen())}
	// Nobody else has it: there is no need to wait until that is found out.
	if err := n.AddrReplace(link, &netlink.Addr{IPNet: &prefix, Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", device, &prefix, err)
	}
	if err := n.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", device, err)
	}
	if !gateway.IsValid() {
		return nil
	}
	all := &net.IPNet{IP: make(net.IP, address.BitLen()/8), Mask: net.CIDRMask(0, address.BitLen())}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Gw: gateway.AsSlice()}
	if err := n.RouteReplace(route); err != nil {
		return fmt.Errorf("route through %s: %w", gateway, err)
	}
	return nil
}

// withoutChecksumOffload makes the kernel complete the checksums of what it
// sends through a device. The userspace datapath reads packets as they are, and
// forwards incomplete ones, which are dropped at their end: ping works then, and
// TCP and UDP fail.
func withoutChecksumOffload(path, device string) error {
	// struct ethtool_value (linux/ethtool.h).
	type ethtoolValue struct{ cmd, data uint32 }
	err := netns.Do(path, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		value := &ethtoolValue{cmd: unix.ETHTOOL_STXCSUM}
		// struct ifreq: a name of IFNAMSIZ bytes, then a union of which the pointer
		// is the first member; 40 bytes on 64-bit machines.
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(value)}
		copy(request.name[:unix.IFNAMSIZ-1], device)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return os.NewSyscallError("ioctl SIOCETHTOOL", errno)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("turn checksum offload of %s off: %w", device, err)
	}
	return nil
}

// setIPv6 writes a setting of a device's IPv6, where the kernel has it. With accept_dad=0
// a machine is as one that has been up for a while: for its first two seconds a device
// could not ask for neighbours.
func setIPv6(path, device, name, value string) error {
	err := setSysctl(path, "net/ipv6/conf/"+device+"/"+name, value)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// setSysctl writes a sysctl of a namespace, whose path under /proc/sys is given.
func setSysctl(path, key, value string) error {
	return netns.Do(path, func() error {
		return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644)
	})
}
