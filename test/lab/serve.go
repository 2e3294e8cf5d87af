package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Serve is what stands for a pod's containers. It listens on all addresses of
// the network namespace that it runs in, and answers each connection and each
// datagram with one line.
type Serve struct {
	// Answer is the line, without its newline.
	Answer string
	// TellClient adds a space and the client's address to the line.
	TellClient bool
	// Listen are the ports, each as "tcp:8080", "udp:53" or "sctp:9".
	Listen []string
}

// drainBound is how long a connection that was answered is still read from.
const drainBound = 5 * time.Second

// Run listens on all ports, calls ready, and serves until ctx ends. An error
// means that it could not listen on one of them, or that a socket broke.
func (s Serve) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2*len(s.Listen))
	for _, listen := range s.Listen {
		protocol, port, ok := strings.Cut(listen, ":")
		if !ok || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return fmt.Errorf("listen on %q: write tcp:PORT, udp:PORT or sctp:PORT", listen)
		}
		for _, family := range []string{"4", "6"} {
			socket, serve, err := s.listen(ctx, protocol+family, port)
			if family == "6" && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { socket.Close() })
			go func() { ended <- serve() }()
		}
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// listen opens one socket and returns what serves it until it is closed. IPv4
// and IPv6 have sockets of their own, so that addresses are what they look like.
func (s Serve) listen(ctx context.Context, network, port string) (io.Closer, func() error, error) {
	var config net.ListenConfig
	address := net.JoinHostPort("", port)
	switch {
	case strings.HasPrefix(network, "sctp"):
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, nil, err
		}
		listener, err := listenSCTP(network == "sctp4", int(number))
		if err != nil {
			return nil, nil, err
		}
		return listener, func() error { return s.acceptAll(listener) }, nil
	case strings.HasPrefix(network, "tcp"):
		listener, err := config.Listen(ctx, network, address)
		if err != nil {
			return nil, nil, err
		}
		return listener, func() error { return s.acceptAll(listener) }, nil
	}
	conn, err := config.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	udp := conn.(*net.UDPConn)
	if err := tellDestination(udp, network); err != nil {
		udp.Close()
		return nil, nil, err
	}
	return udp, func() error { return s.answerAll(udp) }, nil
}

func (s Serve) acceptAll(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go s.answerConn(conn.(*net.TCPConn))
	}
}

// answerConn answers at once and ends its own direction, so that a client that
// only reads comes to an end. It reads what the client may still send: a
// connection closed before is reset, and the answer might be lost with it.
func (s Serve) answerConn(conn *net.TCPConn) {
	defer conn.Close()
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	err := conn.SetDeadline(time.Now().Add(drainBound))
	if err == nil {
		_, err = conn.Write(s.line(client))
	}
	if err == nil {
		err = conn.CloseWrite()
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, conn) // until the client closes, resets or says nothing
	}
}

func (s Serve) answerAll(conn *net.UDPConn) error {
	payload, control := make([]byte, 1<<16), make([]byte, 256)
	for {
		_, n, _, client, err := conn.ReadMsgUDPAddrPort(payload, control)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP error about an earlier answer
		}
		// An answer that cannot be sent is one that is lost.
		_, _, _ = conn.WriteMsgUDPAddrPort(s.line(client.Addr()), answerFrom(control[:n]), client)
	}
}

func (s Serve) line(client netip.Addr) []byte {
	if s.TellClient {
		return fmt.Appendf(nil, "%s %s\n", s.Answer, client.Unmap())
	}
	return fmt.Appendf(nil, "%s\n", s.Answer)
}

// tellDestination asks for the address that a datagram was sent to, beside it.
func tellDestination(conn *net.UDPConn, network string) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if strings.HasSuffix(network, "4") {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return errors.Join(err, failed)
}

// answerFrom makes the control message that sends an answer from the address that
// was asked. A machine with several addresses answers from another one else, which
// the client does not take for an answer.
func answerFrom(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, message := range messages {
		switch {
		case message.Header.Level == unix.IPPROTO_IP && message.Header.Type == unix.IP_PKTINFO && len(message.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: the device, the local address, the destination.
			info := unix.Inet4Pktinfo{}
			copy(info.Spec_dst[:], message.Data[4:8])
			return unix.PktInfo4(&info)
		case message.Header.Level == unix.IPPROTO_IPV6 && message.Header.Type == unix.IPV6_PKTINFO && len(message.Data) >= unix.SizeofInet6Pktinfo:
			info := unix.Inet6Pktinfo{}
			copy(info.Addr[:], message.Data[:16])
			return unix.PktInfo6(&info)
		}
	}
	return nil
}
