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
	errno, err := tell(linkMessage(syscall.RTM_DELLINK, 0, attribute(syscall.IFLA_IFNAME, name+"\x00")))
	if err == nil && errno != 0 && errno != syscall.ENODEV {
		err = errno
	}
	return err
}

// tell sends the kernel one message of rtnetlink, and returns what it says of it.
func tell(message []byte) (syscall.Errno, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open netlink: %w", err)
	}
	defer syscall.Close(fd)
	kernel := &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}
	if err := syscall.Sendto(fd, message, 0, kernel); err != nil {
		return 0, fmt.Errorf("send to netlink: %w", err)
	}
	// The kernel answers when it is done, at once or, when many links go, after
	// its lock has been waited for.
	c := &conn{fd: fd, deadline: time.Now().Add(30 * time.Second)}
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err != nil {
		return 0, fmt.Errorf("read from netlink: %w", err)
	}
	return acknowledged(answer[:n])
}

// linkMessage is struct nlmsghdr, struct ifinfomsg and attributes.
func linkMessage(kind uint16, index int32, attributes ...[]byte) []byte {
	m := make([]byte, syscall.SizeofNlMsghdr+syscall.SizeofIfInfomsg)
	for _, a := range attributes {
		m = append(m, a...)
	}
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	binary.NativeEndian.PutUint32(m[8:], 1) // sequence number
	binary.NativeEndian.PutUint32(m[syscall.SizeofNlMsghdr+4:], uint32(index))
	return m
}

// attribute is one of a message, padded to whole words.
func attribute(kind uint16, value string) []byte {
	size := syscall.SizeofRtAttr + len(value)
	a := make([]byte, (size+3)&^3)
	binary.NativeEndian.PutUint16(a[0:], uint16(size))
	binary.NativeEndian.PutUint16(a[2:], kind)
	copy(a[syscall.SizeofRtAttr:], value)
	return a
}

// acknowledged reads the kernel's answer, NLMSG_ERROR with a negative errno or 0.
func acknowledged(m []byte) (syscall.Errno, error) {
	if len(m) < syscall.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(m[4:]) != syscall.NLMSG_ERROR {
		return 0, errors.New("netlink answered with something else")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(m[syscall.SizeofNlMsghdr:]))), nil
}
