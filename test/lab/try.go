package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// probeBound is how long an attempt may take.
var probeBound = slow.Bound(2 * time.Second)

// target is where an attempt goes, and how many bytes of payload it sends.
type target struct {
	address netip.Addr
	port    int
	size    int
	// from is the address that the client is bound to; not valid if the kernel shall choose.
	from netip.Addr
}

// try makes one attempt from a network namespace and returns who answered.
// mustAnswer says that a connection alone is not enough.
func (t target) try(ctx context.Context, path, protocol string, mustAnswer bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	var answer string
	err := netns.Do(path, func() (err error) {
		switch protocol {
		case "tcp":
			answer, err = t.tryTCP(ctx, mustAnswer)
		case "udp":
			answer, err = t.tryUDP(ctx)
		case "sctp":
			answer, err = t.trySCTP(ctx)
		case "icmp":
			answer, err = t.tryICMP(ctx)
		default:
			err = fmt.Errorf("cannot probe by protocol %q", protocol)
		}
		return err
	})
	return answer, plainly(err)
}

// plainly says in few words what went wrong.
func plainly(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s", probeBound)
	case errors.Is(err, unix.EMSGSIZE):
		return errors.New("the packet is larger than the path's MTU")
	case errors.As(err, &errno):
		return errors.New(errno.Error())
	}
	return err
}

func (t target) tryTCP(ctx context.Context, mustAnswer bool) (string, error) {
	deadline, _ := ctx.Deadline()
	var dialer net.Dialer
	if t.from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(t.source())
	}
	dialed, err := dialer.DialContext(ctx, "tcp", t.hostPort())
	if err != nil {
		return "", err
	}
	defer dialed.Close()
	conn := dialed.(*net.TCPConn)
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if lost, err := retransmitted(conn); err != nil {
		return "", err
	} else if lost {
		return "", errors.New("connected only when the first packet, which was lost, was sent again")
	}
	if t.size > 0 {
		if _, err := conn.Write(make([]byte, t.size)); err != nil {
			return "", err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && (mustAnswer || !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF)) {
		if errors.Is(err, io.EOF) {
			err = errors.New("connected, and closed without an answer")
		}
		return "", err
	}
	if err := acknowledged(conn, deadline); err != nil {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// retransmitted tells whether a segment had to be sent again. The kernel sends a
// lost SYN again after a second, which would hide that it was lost.
func retransmitted(conn *net.TCPConn) (bool, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	return info.Total_retrans > 0, nil
}

// acknowledged returns when the peer's kernel has acknowledged all that was
// written: then full-size segments came through.
func acknowledged(conn *net.TCPConn, deadline time.Time) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		unacknowledged := 0
		var failed error
		err := raw.Control(func(fd uintptr) { unacknowledged, failed = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		if unacknowledged == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("answered, but %d bytes of what was sent did not arrive", unacknowledged)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (t target) tryUDP(ctx context.Context) (string, error) {
	deadline, _ := ctx.Deadline()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = dontFragment(int(fd), t.address.Is4()) })
		return errors.Join(err, failed)
	}}
	if t.from.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(t.source())
	}
	conn, err := dialer.DialContext(ctx, "udp", t.hostPort())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(make([]byte, t.size)); err != nil {
		return "", err
	}
	buffer := make([]byte, 1<<16)
	n, err := conn.Read(buffer)
	return strings.TrimSpace(string(buffer[:n])), err
}

func (t target) hostPort() string {
	return net.JoinHostPort(t.address.String(), strconv.Itoa(t.port))
}

// source is where a client is bound to that chooses its address alone.
func (t target) source() netip.AddrPort { return netip.AddrPortFrom(t.from, 0) }

// dontFragment lets nobody cut the socket's packets into pieces, neither this
// machine nor a router.
func dontFragment(fd int, ipv4 bool) error {
	if ipv4 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
}
