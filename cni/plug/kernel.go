package plug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// This file is what needs a thread in the right network namespace, or a message that
// the netlink library lacks.

// setSysctl sets net.ipv6.conf.DEVICE.NAME in the calling thread's namespace. It
// writes a file by its path, as a device's name may hold dots.
func setSysctl(device, name, value string) error {
	path := "/proc/sys/net/ipv6/conf/" + device + "/" + name
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

// withoutIPv6 keeps a host end from having an IPv6 address and asking for routers:
// what it sends would enter the bridge as the pod's. The calling thread must be in
// the namespace that the handle is in.
func withoutIPv6(h *netlink.Handle, end netlink.Link, name string) error {
	err := setSysctl(name, "disable_ipv6", "1")
	if err == nil || errors.Is(err, fs.ErrNotExist) { // no IPv6 in this kernel
		return nil
	}
	// /proc/sys is read-only in an unprivileged container.
	const none = 1 // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h
	if other := h.LinkSetIP6AddrGenMode(end, none); other != nil {
		return errors.Join(err, fmt.Errorf("set addrgenmode none: %w", other))
	}
	return nil
}

// Of linux/ethtool.h.
const (
	ethtoolGetTxChecksum = 0x16 // ETHTOOL_GTXCSUM
	ethtoolSetTxChecksum = 0x17 // ETHTOOL_STXCSUM
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ifreqData is struct ifreq with its ifr_data.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// setTxChecksum turns a device's transmit checksum offload on or off, and with it, by
// the kernel's own rules, segmentation offload. In the calling thread's namespace.
func setTxChecksum(device string, on bool) error {
	value := ethtoolValue{cmd: ethtoolSetTxChecksum}
	if on {
		value.data = 1
	}
	return ethtool(device, &value)
}

// txChecksum tells whether it is on.
func txChecksum(device string) (bool, error) {
	value := ethtoolValue{cmd: ethtoolGetTxChecksum}
	err := ethtool(device, &value)
	return value.data != 0, err
}

func ethtool(device string, value *ethtoolValue) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	req := ifreqData{data: unsafe.Pointer(value)}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("SIOCETHTOOL %#x: %w", value.cmd, errno)
	}
	return nil
}
