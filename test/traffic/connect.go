package traffic

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// Connect opens a TCP or UDP stream ("tcp4", "udp6", ...) to the echo port of an address.
func Connect(t *testing.T, name, network, namespace string, to netip.Addr) *Stream {
	t.Helper()
	var conn net.Conn
	err := netns.Do(namespace, func() (err error) {
		conn, err = net.DialTimeout(network, netip.AddrPortFrom(to, EchoPort).String(), slow.Bound(2*time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Stream{
		Name: name, Every: Interval,
		send: func(n uint32) error { return binary.Write(conn, binary.BigEndian, n) },
		receive: func() (n uint32, err error) {
			err = binary.Read(conn, binary.BigEndian, &n)
			return n, err
		},
		close: func() { conn.Close() },
	}
}

// Ping opens a stream of echo requests, as ping(8) does.
func Ping(t *testing.T, name, namespace string, to netip.Addr) *Stream {
	t.Helper()
	var conn net.PacketConn
	err := netns.Do(namespace, func() (err error) {
		if to.Is6() {
			conn, err = net.ListenPacket("ip6:ipv6-icmp", "::")
		} else {
			conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What tells this stream's messages from others'.
	token := uint32(time.Now().UnixNano())
	request, reply := byte(8), byte(0) // RFC 792
	if to.Is6() {
		request, reply = 128, 129 // RFC 4443; the kernel computes the checksum
	}
	return &Stream{
		Name: name, Every: Interval,
		send: func(n uint32) error {
			_, err := conn.WriteTo(echoRequest(request, token, n), &net.IPAddr{IP: to.AsSlice()})
			return err
		},
		receive: func() (uint32, error) {
			buffer := make([]byte, 2048)
			for {
				n, _, err := conn.ReadFrom(buffer)
				if err != nil {
					return 0, err
				}
				if n == 16 && buffer[0] == reply && binary.BigEndian.Uint32(buffer[8:]) == token {
					return binary.BigEndian.Uint32(buffer[12:]), nil
				}
			}
		},
		close: func() { conn.Close() },
	}
}

// echoRequest is type, code, checksum, identifier, sequence, and as payload whose it is
// and which.
func echoRequest(kind byte, token, number uint32) []byte {
	message := make([]byte, 16)
	message[0] = kind
	binary.BigEndian.PutUint32(message[8:], token)
	binary.BigEndian.PutUint32(message[12:], number)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	return message
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
