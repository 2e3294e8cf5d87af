package services

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/slow"
)

// node is node n1 of a cluster, with pods a, b, c and a machine outside. Strict reverse-path filter is on.
type node struct {
	t       *testing.T
	ovs     *ovstest.OVS
	rec     *reconcile.Reconciler
	host    *host.Host
	outside *ovstest.Namespace
	pods    map[string]*ovstest.Namespace
	state   state.State
}

// newNode makes the node, without Services.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, ovs: ovstest.Start(t), pods: map[string]*ovstest.Namespace{}}
	n.outside = n.ovs.AddNS()
	n.ovs.Vsctl("add-br", render.Bridge, "--", "set", "bridge", render.Bridge, "datapath_type="+ovstest.Datapath(), "fail_mode=secure",
		"--", "add-port", render.Bridge, render.GatewayDevice, "--", "set", "interface", render.GatewayDevice, "type=internal", "ofport_request=2")
	n.state = state.State{
		Node: "n1",
		Nodes: []state.Node{{
			Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		}},
		Facts: state.Facts{
			TunnelAddress: netip.MustParseAddr("10.9.0.1"), OtherTunnelAddress: netip.MustParseAddr("fd09::1"),
			UnderlayDevice: "eth0", UnderlayMTU: 1500, Datapath: ovstest.Datapath(),
		},
	}
	n.ip(n.ovs.Namespace, "link add eth0 type veth peer name eth0 netns "+n.outside.Name)
	n.plain(n.ovs.Namespace, "all", "default", "eth0")
	n.plain(n.outside, "eth0")
	for _, text := range []string{"addr add 10.9.0.1/24 dev eth0", "addr add fd09::1/64 dev eth0 nodad", "link set eth0 up", "route add default via 10.9.0.254", "route add default via fd09::fe"} {
		n.ip(n.ovs.Namespace, text)
	}
	for _, text := range []string{"addr add 10.9.0.254/24 dev eth0", "addr add fd09::fe/64 dev eth0 nodad", "link set eth0 up"} {
		n.ip(n.outside, text)
	}
	n.ovs.Do(func() { n.must(withoutChecksums(render.GatewayDevice)) })
	for i, name := range []string{"a", "b", "c"} {
		n.pod(name, uint32(i+2))
	}
	n.ovs.Do(func() { n.host = host.New(slog.New(slog.DiscardHandler)) })
	n.reconciler()
	t.Cleanup(func() { n.rec.Close() })
	n.put()
	return n
}

// reconciler makes one that knows nothing of what another has put in.
func (n *node) reconciler() {
	n.ovs.Do(func() {
		n.rec = reconcile.New(func(ctx context.Context) (openflow.Switch, error) {
			return openflow.Dial(ctx, n.ovs.MgmtSocket(render.Bridge), nil)
		}, slog.New(slog.DiscardHandler))
	})
}

// pod makes a pod with the addresses 10.244.1.I and fd00:1::I.
func (n *node) pod(name string, i uint32) {
	n.t.Helper()
	ns := n.ovs.AddNS()
	n.pods[name] = ns
	v4, v6 := netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", i))
	a := state.Attachment{
		Network: "sluice", ContainerID: name, PodNamespace: "shop", PodName: name, IfName: "eth0",
		Port: render.PodDevicePrefix + name, OFPort: 256 + i, MAC: render.MAC(v4).String(), Addresses: []netip.Addr{v4, v6},
	}
	n.state.Attachments = append(n.state.Attachments, a)
	n.state.Pods = append(n.state.Pods, state.Pod{Namespace: "shop", Name: name, Node: "n1", Addresses: a.Addresses, Labels: map[string]string{"app": name}})
	n.ip(n.ovs.Namespace, "link add "+a.Port+" type veth peer name eth0 netns "+ns.Name)
	n.ip(n.ovs.Namespace, "link set "+a.Port+" up")
	n.plain(ns, "eth0")
	for _, text := range []string{
		"link set eth0 address " + a.MAC, "addr add " + v4.String() + "/32 dev eth0", "addr add " + v6.String() + "/128 dev eth0 nodad", "link set eth0 up",
		"route add 169.254.0.1 dev eth0 scope link", "route add default via 169.254.0.1", "neigh add 169.254.0.1 lladdr " + render.RouterMAC.String() + " dev eth0 nud permanent",
		"neigh add fe80::1 lladdr " + render.RouterMAC.String() + " dev eth0 nud permanent", "route add default via fe80::1 dev eth0",
	} {
		n.ip(ns, text)
	}
	ns.Do(func() { n.must(withoutChecksums("eth0")) })
	n.ovs.Vsctl("add-port", render.Bridge, a.Port, "--", "set", "interface", a.Port, fmt.Sprint("ofport_request=", a.OFPort))
}

// put brings switch and host to the node's state.
func (n *node) put() {
	n.t.Helper()
	n.ovs.Do(func() {
		n.must(n.rec.Apply(n.t.Context(), render.Tables(n.state).Set, reconcile.LookAtAll))
		n.must(n.host.Apply(n.t.Context(), render.HostSide(n.state), false))
	})
	if refused := n.rec.Refused(); len(refused) > 0 {
		n.t.Fatal(refused)
	}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) ip(ns *ovstest.Namespace, text string) {
	n.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", ns.Name}, strings.Fields(text)...)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", text, err, out)
	}
}

// plain turns off what a device does by itself, and on what a careful administrator turns on.
func (n *node) plain(ns *ovstest.Namespace, devices ...string) {
	n.t.Helper()
	ns.Do(func() {
		for _, d := range devices {
			n.must(os.WriteFile(filepath.Join("/proc/sys/net/ipv4/conf", d, "rp_filter"), []byte("1"), 0o644))
			n.must(os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", d, "accept_dad"), []byte("0"), 0o644))
		}
	})
}

// place is where a client or a server is: a pod, the host, or outside.
func (n *node) place(name string) *ovstest.Namespace {
	switch name {
	case "host":
		return n.ovs.Namespace
	case "outside":
		return n.outside
	}
	return n.pods[name]
}

// serve answers TCP and UDP on a port of all addresses with its name and the client's address.
func (n *node) serve(name string, port uint16) {
	n.t.Helper()
	var l net.Listener
	var u *net.UDPConn
	n.must(netns.Do(n.place(name).Path, func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			u, err = net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		}
		return err
	}))
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, name)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buffer := make([]byte, 100)
		for {
			_, from, err := u.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = u.WriteToUDPAddrPort([]byte(name+" "+from.Addr().Unmap().String()), from)
		}
	}()
	n.t.Cleanup(func() {
		l.Close()
		u.Close()
		<-done
		<-done
	})
}

func hostOf(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return p.Addr().Unmap().String()
}

// patience is how long a client waits for an answer.
var patience = slow.Bound(5 * time.Second)

// answer answers each question with the server's name and the asker's address, until the asker has no more.
func answer(c net.Conn, name string) {
	defer c.Close()
	for question := make([]byte, 1); ; {
		if _, err := c.Read(question); err != nil {
			return
		}
		fmt.Fprint(c, name, " ", hostOf(c.RemoteAddr()))
	}
}

// ask connects and says what is answered: "SERVER CLIENT", "refused" or "silence".
func (n *node) ask(from, network, to string) string {
	n.t.Helper()
	return askOn(n.dial(from, network, to))
}

// askOn asks on a connection and closes it.
func askOn(c net.Conn, err error) string {
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	return answerOn(c, patience)
}

func (n *node) dial(from, network, to string) (net.Conn, error) {
	return n.dialWithin(from, network, to, patience)
}

// dialFrom is dial by a program that is bound to an address.
func (n *node) dialFrom(place, address, network, to string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: patience, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0))}
	if strings.HasPrefix(network, "tcp") {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0))
	}
	err = netns.Do(n.place(place).Path, func() (err error) {
		c, err = d.Dial(network, to)
		return err
	})
	return c, err
}

func (n *node) dialWithin(from, network, to string, bound time.Duration) (c net.Conn, err error) {
	err = netns.Do(n.place(from).Path, func() (err error) {
		c, err = net.DialTimeout(network, to, bound)
		return err
	})
	return c, err
}

// answerOn asks on a connection.
func answerOn(c net.Conn, patience time.Duration) string {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("?")); err != nil {
		return outcome(err)
	}
	buffer := make([]byte, 100)
	k, err := c.Read(buffer)
	if err != nil {
		return outcome(err)
	}
	return string(buffer[:k])
}

func outcome(err error) string {
	switch {
	case strings.Contains(err.Error(), "refused"):
		return "refused"
	case strings.Contains(err.Error(), "timeout"):
		return "silence"
	}
	return err.Error()
}

// withoutChecksums has the kernel complete the checksums of what it sends through a device: the userspace
// datapath forwards packets as they are.
func withoutChecksums(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := &struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STXCSUM}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(value)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
