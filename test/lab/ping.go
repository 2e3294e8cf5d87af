package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The types of echo messages: RFC 792 and RFC 4443.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoHeader               = 8
	echoToken                = 8
)

// tryICMP sends one echo request, which may not be fragmented, and returns the
// address that the reply came from. It must run in the namespace it speaks from.
func (t target) tryICMP(ctx context.Context) (string, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if !t.address.Is4() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := dontFragment(fd, t.address.Is4()); err != nil {
		return "", os.NewSyscallError("setsockopt", err)
	}
	// What a router says of the request comes as an error of the socket then.
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if !t.address.Is4() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return "", os.NewSyscallError("setsockopt", err)
	}
	if t.from.IsValid() {
		if err := unix.Bind(fd, sockaddr(t.from)); err != nil {
			return "", os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(t.address)); err != nil {
		return "", os.NewSyscallError("connect", err)
	}
	request, err := t.echo()
	if err != nil {
		return "", err
	}
	if _, err := unix.Write(fd, request); err != nil {
		return "", os.NewSyscallError("send", err)
	}
	deadline, _ := ctx.Deadline()
	buffer := make([]byte, 1<<16)
	for {
		n, err := receive(fd, buffer, deadline)
		if err != nil {
			return "", err
		}
		if t.isReply(buffer[:n], request) {
			return t.address.String(), nil
		}
	}
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// echo makes an echo request: type, code, checksum, identifier, sequence, payload.
// Identifier and payload begin with random bytes, to know the reply by.
func (t target) echo() ([]byte, error) {
	size := max(t.size, echoToken)
	if size > 65535-20-echoHeader {
		return nil, fmt.Errorf("a packet cannot hold %d bytes of payload", size)
	}
	message := make([]byte, echoHeader+size)
	rand.Read(message[4 : echoHeader+echoToken])
	if t.address.Is4() {
		message[0] = echoRequest4
		binary.BigEndian.PutUint16(message[2:], internetChecksum(message))
	} else {
		message[0] = echoRequest6 // the kernel computes the checksum
	}
	return message, nil
}

// isReply tells whether a packet answers the request.
func (t target) isReply(packet, request []byte) bool {
	kind := byte(echoReply6)
	if t.address.Is4() {
		// The packet comes with its IP header.
		if len(packet) < 20 {
			return false
		}
		packet = packet[min(len(packet), int(packet[0]&0x0f)*4):]
		kind = echoReply4
	}
	return len(packet) == len(request) && packet[0] == kind && bytes.Equal(packet[4:], request[4:])
}

// receive waits for one packet, an error of the socket, or the deadline.
func receive(fd int, buffer []byte, deadline time.Time) (int, error) {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return 0, os.NewSyscallError("poll", err)
		}
		n, err := unix.Read(fd, buffer)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		return n, os.NewSyscallError("receive", err)
	}
}

// internetChecksum is that of RFC 1071.
func internetChecksum(message []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(message); i += 2 {
		sum += uint32(message[i])<<8 | uint32(message[i+1])
	}
	if len(message)%2 == 1 {
		sum += uint32(message[len(message)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
