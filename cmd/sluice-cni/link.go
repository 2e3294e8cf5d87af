package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// deleteLink deletes the network link of a name, and with a veth its other end, by
// one rtnetlink message (rtnetlink(7), RTM_DELLINK with IFLA_IFNAME). It succeeds if
// there is none.
func deleteLink(name string) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer syscall.Close(fd)
	kernel := &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}
	if err := syscall.Sendto(fd, delLinkMessage(name), 0, kernel); err != nil {
		return fmt.Errorf("send to netlink: %w", err)
	}
	// The kernel answers when it is done, at once or, when many links go, after
	// its lock has been waited for.
	c := &conn{fd: fd, deadline: time.Now().Add(30 * time.Second)}
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err != nil {
		return fmt.Errorf("read from netlink: %w", err)
	}
	switch errno, err := acknowledged(answer[:n]); {
	case err != nil:
		return err
	case errno != 0 && errno != syscall.ENODEV:
		return errno
	}
	return nil
}

// delLinkMessage is struct nlmsghdr, struct ifinfomsg and one attribute.
func delLinkMessage(name string) []byte {
	attribute := syscall.SizeofRtAttr + len(name) + 1
	m := make([]byte, syscall.SizeofNlMsghdr+syscall.SizeofIfInfomsg+(attribute+3)&^3)
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], syscall.RTM_DELLINK)
	binary.NativeEndian.PutUint16(m[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	binary.NativeEndian.PutUint32(m[8:], 1) // sequence number
	a := m[syscall.SizeofNlMsghdr+syscall.SizeofIfInfomsg:]
	binary.NativeEndian.PutUint16(a[0:], uint16(attribute))
	binary.NativeEndian.PutUint16(a[2:], syscall.IFLA_IFNAME)
	copy(a[syscall.SizeofRtAttr:], name)
	return m
}

// acknowledged reads the kernel's answer, NLMSG_ERROR with a negative errno or 0.
func acknowledged(m []byte) (syscall.Errno, error) {
	if len(m) < syscall.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(m[4:]) != syscall.NLMSG_ERROR {
		return 0, errors.New("netlink answered with something else")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(m[syscall.SizeofNlMsghdr:]))), nil
}
