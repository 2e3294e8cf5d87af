package host_test

import (
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/slow"
)

// run runs a command in the caller's namespace.
func run(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// gateway is a host's side with one address and one route a family.
func gateway(addresses ...string) render.Host {
	h := render.Host{Gateway: render.GatewayPort{Device: "sluice0", MAC: "0a:58:0a:f4:01:01", MTU: 1450}}
	for _, a := range addresses {
		p := netip.MustParsePrefix(a)
		via := render.RouterFor(p.Addr())
		h.Gateway.Addresses = append(h.Gateway.Addresses, p)
		h.Gateway.Neighbours = append(h.Gateway.Neighbours, render.Neighbour{Address: via, MAC: render.RouterMAC.String()})
		whole := netip.PrefixFrom(p.Addr(), p.Bits()-8).Masked()
		h.Routes = append(h.Routes, render.Route{To: whole, Via: via, Source: p.Addr()})
	}
	return h
}

// held are the lines of what the device has that contain one of the words.
func held(t *testing.T, words ...string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, "ip -o address show dev sluice0 scope global; ip route; ip -6 route show dev sluice0")) {
		if !strings.Contains(line, "proto kernel") && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return out
}

// TestASuccessorKnowsItsPredecessorsFromOthers: what an agent of another podCIDR left is
// taken away by the next one; what an operator gave the same device stays.
func TestASuccessorKnowsItsPredecessorsFromOthers(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		log := slog.New(slog.DiscardHandler)
		run(t, "ip link add sluice0 type veth peer name other; ip link set other up")
		first := host.New(log)
		if err := first.Apply(t.Context(), gateway("10.244.1.1/32", "fd00:1::1/128"), false); err != nil {
			t.Fatal(err)
		}
		if old := held(t, "10.244.1.", "fd00:1:"); len(old) != 4 {
			t.Fatalf("addresses and routes: %q", old)
		}
		for _, add := range []string{
			"ip address add 198.51.100.1/32 dev sluice0", "ip address add fd99::1/128 dev sluice0",
			"ip route add 198.51.100.0/24 dev sluice0", "ip route add 10.244.2.0/24 dev other",
		} {
			run(t, add)
		}
		second := host.New(log)
		if err := second.Apply(t.Context(), gateway("10.244.2.1/32", "fd00:2::1/128"), false); err != nil {
			t.Fatal(err)
		}
		if old := held(t, "10.244.1.", "fd00:1:"); len(old) != 0 {
			t.Errorf("the first agent's are left: %q", old)
		}
		if foreign := held(t, "198.51.100.", "fd99::1", "dev other"); len(foreign) != 4 {
			t.Errorf("of the operator's only these are left: %q", foreign)
		}
		if got := run(t, "ip route get 10.244.2.9"); !strings.Contains(got, "dev sluice0") {
			t.Errorf("somebody else's route to the same destination is first: %s", got)
		}
		if second.Repaired() != 0 {
			t.Errorf("%d counted as put right behind others", second.Repaired())
		}
		// The same again changes nothing: each is found as it was made.
		third := host.New(log)
		if err := third.Apply(t.Context(), gateway("10.244.2.1/32", "fd00:2::1/128"), false); err != nil {
			t.Fatal(err)
		}
		if err := third.Apply(t.Context(), gateway("10.244.2.1/32", "fd00:2::1/128"), false); err != nil {
			t.Fatal(err)
		}
		if third.Repaired() != 0 {
			t.Errorf("%d changes where nothing differed", third.Repaired())
		}
	})
}

// TestTheDeviceTakesWhatIsForTheLoopback while it is wanted, whichever agent was there before; what the machine
// sends to ::1 stays at home.
func TestTheDeviceTakesWhatIsForTheLoopback(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, "ip link set lo up; ip link add sluice0 type veth peer name other; ip link set sluice0 up; ip link set other up")
		want := gateway("10.244.1.1/32", "fd00:1::1/128")
		apply := func(h *host.Host) {
			t.Helper()
			if err := h.Apply(t.Context(), want, false); err != nil {
				t.Fatal(err)
			}
			routes := run(t, "ip -6 route show table local dev sluice0 ::1; ip -6 route get ::1")
			if strings.Contains(routes, "proto 115") != want.Gateway.Loopback || !strings.Contains(routes, "dev lo") {
				t.Errorf("wanted: %t, routes: %s", want.Gateway.Loopback, routes)
			}
		}
		first := host.New(slog.New(slog.DiscardHandler))
		for _, on := range []bool{true, false, true, true} {
			want.Gateway.Loopback = on
			apply(first)
		}
		second := host.New(slog.New(slog.DiscardHandler))
		apply(second)
		apply(second)
		if first.Repaired()+second.Repaired() != 0 {
			t.Errorf("%d and %d changes where nothing differed", first.Repaired(), second.Repaired())
		}
		run(t, "ip -6 route del table local local ::1 dev sluice0")
		if apply(second); second.Repaired() != 1 {
			t.Errorf("%d repaired", second.Repaired())
		}
		want.Gateway.Loopback = false
		apply(second)
	})
}

// TestWhatComesForTheLoopbackIsDropped, as ever: the local route is for answers, whose translation is undone
// after the kernel has looked.
func TestWhatComesForTheLoopbackIsDropped(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		// The other end last: one that is up before its peer sends nothing until the kernel's link watch gets to it.
		run(t, "ip link set lo up; ip link add sluice0 type veth peer name other; ip link set sluice0 up; ip link set other up")
		want := gateway("fd00:1::1/128")
		want.Gateway.Loopback = true
		if err := host.New(slog.New(slog.DiscardHandler)).Apply(t.Context(), want, false); err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp6", "[::]:7000")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, to := range []string{"::1", "fd00:1::1"} {
			arrive(t, "other", want.Gateway.MAC, to, 7000)
		}
		conn.SetReadDeadline(time.Now().Add(slow.Bound(5 * time.Second)))
		buf := make([]byte, 100)
		if n, _, err := conn.ReadFrom(buf); err != nil || string(buf[:n]) != "fd00:1::1" {
			t.Errorf("heard %q first, %v", buf[:n], err)
		}
	})
}

// arrive sends a datagram out of a device, whose text is where it goes.
func arrive(t *testing.T, device, mac, to string, port layers.UDPPort) {
	t.Helper()
	link, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	target, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	eth := &layers.Ethernet{SrcMAC: link.HardwareAddr, DstMAC: target, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("fd00:1::9"), DstIP: net.ParseIP(to)}
	udp := &layers.UDP{SrcPort: 40000, DstPort: port}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	frame := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(frame, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(to)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frame.Bytes(), 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
}

// TestRoutesOfEarlierAgentsAreKnown: they carried no protocol of their own.
func TestRoutesOfEarlierAgentsAreKnown(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, "ip link add sluice0 type veth peer name other; ip link set sluice0 up; ip link set other up")
		run(t, "ip address add 10.244.1.1/32 dev sluice0")
		for _, old := range []string{"10.244.1.0/24", "10.244.9.0/24"} {
			run(t, "ip route add "+old+" via 169.254.0.1 dev sluice0 onlink proto static src 10.244.1.1")
		}
		if err := host.New(slog.New(slog.DiscardHandler)).Apply(t.Context(), gateway("10.244.1.1/32"), false); err != nil {
			t.Fatal(err)
		}
		if routes := held(t, "169.254.0.1"); len(routes) != 1 || !strings.Contains(routes[0], "10.244.1.0/24") || !strings.Contains(routes[0], "proto 115") {
			t.Errorf("routes: %q", routes)
		}
	})
}

// TestCablesThatMoveAreTendedAlone: what nobody has told of is left for the whole look.
func TestCablesThatMoveAreTendedAlone(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		const a, b = "slc00000000000a", "slc00000000000b"
		for _, name := range []string{a, b} {
			run(t, "ip link add "+name+" type veth peer name p"+name[3:]+"; ip link set "+name+" alias x up; ip link set p"+name[3:]+" up")
		}
		want := []render.Cable{{Device: a, MAC: "0e:58:0a:f4:01:02", MTU: 1400}, {Device: b, MAC: "0e:58:0a:f4:01:03", MTU: 1400}}
		right := func(name string) bool {
			line := run(t, "ip -o link show "+name)
			return strings.Contains(line, "mtu 1400") && strings.Contains(line, "0e:58:") && strings.Contains(line, ",UP")
		}
		h, moved := host.New(slog.New(slog.DiscardHandler)), host.NewMoved()
		tend := func() {
			t.Helper()
			if err := h.Tend(want, moved); err != nil {
				t.Fatal(err)
			}
		}
		tend() // both are new
		if !right(a) || !right(b) || h.Repaired() != 0 {
			t.Errorf("new ones: %t, %t; %d repaired", right(a), right(b), h.Repaired())
		}
		run(t, "ip link set "+a+" mtu 1300; ip link set "+b+" mtu 1300")
		moved.Note(b, "slc00000000000c") // the last has gone since
		tend()
		if right(a) || !right(b) || h.Repaired() != 1 {
			t.Errorf("the one that moved: %t, %t; %d repaired", right(a), right(b), h.Repaired())
		}
		if err := h.Apply(t.Context(), render.Host{Cables: want}, false); err != nil || !right(a) {
			t.Errorf("a whole look: %t, %v", right(a), err)
		}
	})
}

// TestAQuarrelIsNoticed: what somebody sets back again and again is named.
func TestAQuarrelIsNoticed(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		h, want := host.New(slog.New(slog.DiscardHandler)), render.Host{Sysctls: []render.Sysctl{{Path: "net/ipv4/ip_forward", Value: "1"}}}
		apply := func() {
			t.Helper()
			if err := h.Apply(t.Context(), want, false); err != nil {
				t.Fatal(err)
			}
		}
		apply()
		for i := range 3 {
			if q := h.Quarrels(); len(q) != 0 {
				t.Errorf("after %d times: %q", i, q)
			}
			run(t, "sysctl -q -w net.ipv4.ip_forward=0")
			apply()
		}
		if q := h.Quarrels(); len(q) != 1 || !strings.Contains(q[0], "ip_forward") {
			t.Errorf("quarrels: %q", q)
		}
	})
}

// TestForwardingLeavesRouterAdvertisementsTaken: a machine that gets its IPv6 routes from
// routers keeps on getting them when it begins to forward; what somebody decided stays.
func TestForwardingLeavesRouterAdvertisementsTaken(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, "ip link add up0 type veth peer name off0; ip link add all0 type veth peer name other0")
		run(t, "sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.up0.accept_ra=1 net.ipv6.conf.off0.accept_ra=0 net.ipv6.conf.all0.accept_ra=2")
		want := render.Host{Sysctls: []render.Sysctl{{Path: render.IPv6Forwarding, Value: "1"}}}
		h := host.New(slog.New(slog.DiscardHandler))
		if err := h.Apply(t.Context(), want, false); err != nil {
			t.Fatal(err)
		}
		values := "sysctl -n net.ipv6.conf.all.forwarding net.ipv6.conf.up0.accept_ra net.ipv6.conf.off0.accept_ra net.ipv6.conf.all0.accept_ra"
		if got := strings.Fields(run(t, values)); !slices.Equal(got, []string{"1", "2", "0", "2"}) {
			t.Errorf("forwarding and accept_ra are %v", got)
		}
		// An operator who turns it off later is not contradicted.
		run(t, "sysctl -qw net.ipv6.conf.up0.accept_ra=1")
		if err := h.Apply(t.Context(), want, false); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(run(t, values)); got[1] != "1" {
			t.Errorf("accept_ra is %s", got[1])
		}
	})
}
