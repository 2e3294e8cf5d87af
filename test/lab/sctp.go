package lab

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HasSCTP tells whether this machine's kernel speaks SCTP. Without it nothing listens on such ports of
// the lab's pods.
func HasSCTP() bool {
	fd, err := sctpSocket(true)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// sctpSocket is a socket of one association at a time, which package net takes for one of TCP.
func sctpSocket(ipv4 bool) (int, error) {
	family := unix.AF_INET
	if !ipv4 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if !ipv4 { // else it tells the peer of addresses of both families
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err != nil {
		unix.Close(fd)
		return 0, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

func sctpAddress(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// listenSCTP listens on all addresses of a family.
func listenSCTP(ipv4 bool, port int) (net.Listener, error) {
	fd, err := sctpSocket(ipv4)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "sctp")
	defer file.Close() // the listener has its own
	all := netip.IPv6Unspecified()
	if ipv4 {
		all = netip.IPv4Unspecified()
	}
	if err := unix.Bind(fd, sctpAddress(netip.AddrPortFrom(all, uint16(port)))); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return net.FileListener(file)
}

func (t target) trySCTP(ctx context.Context) (string, error) {
	deadline, _ := ctx.Deadline()
	conn, err := dialSCTP(t.from, netip.AddrPortFrom(t.address, uint16(t.port)), deadline)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// dialSCTP connects, bound to an address if from is one.
func dialSCTP(from netip.Addr, to netip.AddrPort, deadline time.Time) (net.Conn, error) {
	fd, err := sctpSocket(to.Addr().Is4())
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "sctp")
	defer file.Close() // the connection has its own
	if from.IsValid() {
		if err := unix.Bind(fd, sctpAddress(netip.AddrPortFrom(from, 0))); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
	}
	err = unix.Connect(fd, sctpAddress(to))
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(fd, deadline)
	}
	if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(file)
}

// connected waits until a connect has come to its end, and returns its error.
func connected(fd int, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 {
			continue
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}
