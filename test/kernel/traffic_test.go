//go:build kernel

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// echoPort is where every pod and outside answer what they are sent.
const echoPort = 9000

// interval is the time between two messages of a stream.
const interval = 20 * time.Millisecond

// serveEcho answers TCP and UDP in a namespace, with what was sent, until the test ends.
func serveEcho(t *testing.T, namespace string) {
	t.Helper()
	var listener net.Listener
	var socket net.PacketConn
	err := netns.Do(namespace, func() (err error) {
		if listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", echoPort)); err == nil {
			socket, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", echoPort))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(t.Context(), func() { conn.Close() })
				defer stop()
				io.Copy(conn, conn)
			})
		}
	})
	wait.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, client, err := socket.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				socket.WriteTo(buffer[:n], client)
			}
		}
	})
	t.Cleanup(func() {
		listener.Close()
		socket.Close()
		wait.Wait()
	})
}

// stream is traffic that goes on until it is ended: numbered messages, one each
// interval, each of which is to come back.
type stream struct {
	name string
	// send and receive carry one message's number; receive may return others' too.
	send    func(uint32) error
	receive func() (uint32, error)
	close   func()

	stop             context.CancelFunc
	sender, receiver sync.WaitGroup

	mu sync.Mutex
	// sent are the times of the messages, by their numbers.
	sent     []time.Time
	answered map[uint32]bool
	silence  time.Duration
	broken   error
}

// begin starts the stream's traffic.
func (s *stream) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.answered = cancel, map[uint32]bool{}
	s.sender.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.mu.Lock()
			n := uint32(len(s.sent))
			s.sent = append(s.sent, time.Now())
			s.mu.Unlock()
			if err := s.send(n); err != nil {
				s.fail(err)
				return
			}
			<-tick.C
		}
	})
	s.receiver.Go(func() {
		for last := time.Now(); ; {
			n, err := s.receive()
			if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
				return
			}
			if err != nil {
				s.fail(err)
				return
			}
			s.mu.Lock()
			s.answered[n] = true
			s.silence = max(s.silence, time.Since(last))
			s.mu.Unlock()
			last = time.Now()
		}
	})
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
}

// lost are the messages that have not come back, by when they were sent.
func (s *stream) lost() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost []time.Time
	for n, at := range s.sent {
		if !s.answered[uint32(n)] {
			lost = append(lost, at)
		}
	}
	return lost
}

// span is a time in which messages may be lost; the zero value is none.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return at.After(s.from) && at.Before(s.to) }

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// end stops the stream, waits for what is still under way, and fails the test for
// whatever was lost, except within that time.
func (s *stream) end(t *testing.T, except span) {
	t.Helper()
	s.stop()
	s.sender.Wait()
	for until := time.Now().Add(slow.Bound(time.Second)); len(s.lost()) > 0 && time.Now().Before(until); {
		time.Sleep(interval)
	}
	lost := s.lost()
	s.close()
	s.receiver.Wait()
	measured(t, "%s: %d of %d lost, longest silence %d ms", s.name, len(lost), len(s.sent), s.silence.Milliseconds())
	if s.broken != nil || len(s.answered) == 0 {
		t.Errorf("%s broke: %v", s.name, s.broken)
	}
	if unexcused := slices.DeleteFunc(lost, except.holds); len(unexcused) > 0 {
		t.Errorf("%s: lost %d of %d messages", s.name, len(unexcused), len(s.sent))
	}
}

// connect opens a TCP or UDP stream to the echo port of an address.
func connect(t *testing.T, name, network, namespace string, to netip.Addr) *stream {
	t.Helper()
	var conn net.Conn
	err := netns.Do(namespace, func() (err error) {
		conn, err = net.DialTimeout(network, netip.AddrPortFrom(to, echoPort).String(), slow.Bound(2*time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &stream{
		name: name,
		send: func(n uint32) error { return binary.Write(conn, binary.BigEndian, n) },
		receive: func() (n uint32, err error) {
			err = binary.Read(conn, binary.BigEndian, &n)
			return n, err
		},
		close: func() { conn.Close() },
	}
}

// ping opens a stream of echo requests, as ping(8) does.
func ping(t *testing.T, name, namespace string, to netip.Addr) *stream {
	t.Helper()
	var conn net.PacketConn
	err := netns.Do(namespace, func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What tells this stream's messages from others'.
	token := uint32(time.Now().UnixNano())
	return &stream{
		name: name,
		send: func(n uint32) error {
			message := make([]byte, 16) // type 8, code, checksum, identifier, sequence: RFC 792
			message[0] = 8
			binary.BigEndian.PutUint32(message[8:], token)
			binary.BigEndian.PutUint32(message[12:], n)
			binary.BigEndian.PutUint16(message[2:], checksum(message))
			_, err := conn.WriteTo(message, &net.IPAddr{IP: to.AsSlice()})
			return err
		},
		receive: func() (uint32, error) {
			buffer := make([]byte, 2048)
			for {
				n, _, err := conn.ReadFrom(buffer)
				if err != nil {
					return 0, err
				}
				if n == 16 && buffer[0] == 0 && binary.BigEndian.Uint32(buffer[8:]) == token {
					return binary.BigEndian.Uint32(buffer[12:]), nil
				}
			}
		},
		close: func() { conn.Close() },
	}
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(message []byte) uint16 {
	var sum uint32
	for i := 0; i < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// firstAnswer is how long it takes until a datagram that is sent again each interval is
// answered: so long a new connection has to wait.
func firstAnswer(ctx context.Context, from, to lab.PodListing) (time.Duration, error) {
	var conn net.Conn
	err := netns.Do(from.Netns, func() (err error) {
		conn, err = net.Dial("udp4", netip.AddrPortFrom(to.Addresses[0], echoPort).String())
		return err
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for began := time.Now(); ctx.Err() == nil; {
		if _, err := conn.Write([]byte("new")); err != nil {
			return 0, err
		}
		conn.SetReadDeadline(time.Now().Add(interval))
		if _, err := conn.Read(make([]byte, 16)); err == nil {
			return time.Since(began), nil
		}
	}
	return 0, fmt.Errorf("%s to %s: no answer", from.Name, to.Name)
}

// send sends so many bytes over a new TCP connection, to a server of its own in the
// other pod, and returns when all have arrived.
func send(t *testing.T, from, to lab.PodListing, bytes int64) {
	t.Helper()
	var listener net.Listener
	err := netns.Do(to.Netns, func() (err error) {
		listener, err = net.Listen("tcp4", ":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan int64, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			got <- 0
			return
		}
		defer conn.Close()
		n, _ := io.Copy(io.Discard, conn)
		got <- n
	}()
	bound := slow.Bound(10 * time.Second)
	err = netns.Do(from.Netns, func() error {
		port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
		conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(to.Addresses[0], port).String(), bound)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(bound))
		_, err = conn.Write(make([]byte, bytes))
		return err
	})
	if err != nil {
		t.Fatalf("send from %s to %s: %v", from.Name, to.Name, err)
	}
	select {
	case n := <-got:
		if n != bytes {
			t.Errorf("%d of %d bytes from %s to %s arrived", n, bytes, from.Name, to.Name)
		}
	case <-time.After(bound):
		t.Errorf("%d bytes from %s to %s did not arrive within %s", bytes, from.Name, to.Name, bound)
	}
}

// hearLarge listens on a device from now on; what it returns tells whether a packet
// of over so many bytes has passed.
func hearLarge(t *testing.T, namespace, device string, size int) (heard func() bool) {
	t.Helper()
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // in network order
	fd := -1
	err := netns.Do(namespace, func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil {
		t.Fatalf("packet socket on %s: %v", device, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() bool {
		buffer := make([]byte, 1<<17)
		for {
			n, _, err := unix.Recvfrom(fd, buffer, 0)
			if err != nil {
				return false
			}
			if n > size {
				return true
			}
		}
	}
}
