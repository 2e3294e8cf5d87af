package scenarios

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// scanned are what a pod may do: some ports of some peers, so that a scan meets ports that are next
// to allowed ones.
const scanned = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}, {podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 8080}, {port: 8000, endPort: 8079}, {port: 53, protocol: UDP}]
  - to: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}]
    ports: [{port: 7443}, {port: 3000, endPort: 3999}]
`

// scanFrom is the first port of a scan, next to an allowed one; scanBurst are the ports that it tries each
// millisecond: of twice as many a switch in userspace loses some.
const (
	scanFrom  = 8081
	scanBurst = 40
)

// scan sends a datagram and a SYN to each port of each address, until all are tried or ctx ends.
func scan(ctx context.Context, t *testing.T, from lab.PodListing, addresses []netip.Addr, ports int) {
	t.Helper()
	try(ctx, t, from, len(addresses)*ports, func(i int) netip.AddrPort {
		return netip.AddrPortFrom(addresses[i/ports], uint16(scanFrom+i%ports))
	})
}

// try sends a datagram and a SYN to each of n targets, from ever another port, as frames: a socket for
// each would take longer than the switch.
func try(ctx context.Context, t *testing.T, from lab.PodListing, n int, target func(i int) netip.AddrPort) {
	t.Helper()
	d := openDevice(t, from.Netns, "eth0")
	var to probes
	for i := range n {
		next := target(i)
		if to.address != next.Addr() {
			to = probesTo(t, d.mac, from.Addresses[0], next.Addr())
		}
		for _, frame := range to.with(uint16(32768+i%28000), next.Port()) {
			// What the link's queue has no room for is lost, as on any link.
			if err := d.write(frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Errorf("send: %v", err)
				return
			}
		}
		if i%scanBurst == 0 {
			time.Sleep(time.Millisecond) // a link's queue holds some hundred packets
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// probes are a datagram and a SYN to an address, from which ports are missing.
type probes struct {
	address  netip.Addr
	udp, tcp []byte
	// checksum is TCP's without the ports.
	checksum uint16
}

// Where the ports and TCP's checksum are, behind the headers of Ethernet and IPv4.
const (
	portsAt       = 14 + 20
	udpChecksumAt = portsAt + 6
	tcpChecksumAt = portsAt + 16
)

func probesTo(t *testing.T, mac net.HardwareAddr, src, dst netip.Addr) probes {
	t.Helper()
	p := probes{address: dst, udp: udpFrame(t, mac, render.RouterMAC, src, dst, 0, "x")}
	binary.BigEndian.PutUint16(p.udp[udpChecksumAt:], 0) // none (RFC 768)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	tcp := &layers.TCP{SYN: true, Window: 1024}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	p.tcp = serialize(t, &layers.Ethernet{SrcMAC: mac, DstMAC: render.RouterMAC, EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
	p.checksum = binary.BigEndian.Uint16(p.tcp[tcpChecksumAt:])
	return p
}

// with gives the frames their ports. They are the same memory each time.
func (p probes) with(from, to uint16) [2][]byte {
	for _, frame := range [][]byte{p.udp, p.tcp} {
		binary.BigEndian.PutUint16(frame[portsAt:], from)
		binary.BigEndian.PutUint16(frame[portsAt+2:], to)
	}
	sum := uint32(^p.checksum) + uint32(from) + uint32(to) // RFC 1624
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p.tcp[tcpChecksumAt:], ^uint16(sum))
	return [2][]byte{p.udp, p.tcp}
}

// cached are the lines of a node's flow cache but for those of the tunnel's own packets.
func cached(t *testing.T, l *lab.Lab, n string) []string {
	t.Helper()
	return judgedLines(on(t, l, "node/"+n, "ovs-appctl", "dpctl/dump-flows"))
}

func judgedLines(dump string) []string {
	var out []string
	for line := range strings.Lines(dump) {
		if strings.Contains(line, "eth_type(0x0800)") && !strings.Contains(line, "tnl_pop") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// connections are the lines of a node's connections that have an end at an address.
func connections(t *testing.T, l *lab.Lab, n string, end netip.Addr) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(on(t, l, "node/"+n, "ovs-appctl", "dpctl/dump-conntrack")) {
		if strings.Contains(line, "="+end.String()+",") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// isolated is how many packets the isolation of shop/web has dropped on n1.
func isolated(t *testing.T, l *lab.Lab) int {
	t.Helper()
	counters := counted(t, l, "node/n1", "shop/web")
	return int(counters["shop/web egress"] + counters["shop/web ingress"])
}

// scanTargets are addresses that a scan tries: those of other pods first, then some of the other node's that
// nobody has there.
func scanTargets(t *testing.T, l *lab.Lab) []netip.Addr {
	t.Helper()
	var targets []netip.Addr
	for _, name := range []string{"shop/api", "shop/db", "dev/web", "ops/dns", "ops/prom"} {
		targets = append(targets, pod(t, l, name).Addresses[0])
	}
	for a := netip.MustParseAddr("10.244.2.10"); len(targets) < scanAddresses; a = a.Next() {
		targets = append(targets, a)
	}
	return targets
}

// mostCached counts a node's cached flows all the time until it is told to stop; it returns the most
// that there were.
func mostCached(t *testing.T, l *lab.Lab, n string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	most := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			dump, err := l.Exec(ctx, "node/"+n, "ovs-appctl", "dpctl/dump-flows")
			if err != nil && ctx.Err() == nil {
				t.Errorf("dump the cached flows: %v: %s", err, dump)
				return
			}
			most = max(most, len(judgedLines(string(dump))))
			time.Sleep(100 * time.Millisecond)
		}
	})
	end := sync.OnceValue(func() int {
		cancel()
		wait.Wait()
		return most
	})
	t.Cleanup(func() { end() })
	return end
}

// scannedWhole scans until the switch has dropped most of what a scan of the addresses sends. The cable's queue loses
// what the switch is not given the time to take: then it is sent again. It returns how many packets were.
func scannedWhole(t *testing.T, l *lab.Lab, from lab.PodListing, to []netip.Addr) (again int) {
	t.Helper()
	before, sent := isolated(t, l), 2*scanPorts*len(to)
	scan(t.Context(), t, from, to, scanPorts)
	within(t, 3*bound, "the switch has dropped as many", func() error {
		got := isolated(t, l) - before
		if got >= sent*3/4 {
			return nil
		}
		scan(t.Context(), t, from, to, scanPorts)
		again += sent
		return fmt.Errorf("%d of %d packets", got, sent)
	})
	return again
}

// TestAScanLeavesNothing: on a node whose pod is denied what it tries, or is tried, there are few
// cached flows, and no connections. (Another node, whose own pod tries and is not denied there,
// remembers what that opens.) Others there have answers, and pods start, as they do while the pod
// sends as much to one port.
func TestAScanLeavesNothing(t *testing.T) {
	l := recipeLab(t, "")
	knownToBoth(t, l, scanned)
	web := pod(t, l, "shop/web")
	targets := scanTargets(t, l)
	for _, c := range []struct {
		name string
		from lab.PodListing
		to   []netip.Addr
	}{
		{"denied its sending", web, targets},
		{"denied at the other end", pod(t, l, "shop/api"), web.Addresses[:1]},
		{"denied at the other end, from another node", pod(t, l, "shop/db"), web.Addresses[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			on(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
			began, most := time.Now(), mostCached(t, l, "n1")
			sent, again := 0, 0
			for some := range slices.Chunk(c.to, 10) {
				sent += 2 * scanPorts * len(some)
				again += scannedWhole(t, l, c.from, some)
			}
			cachedFlows := most()
			traffic.Measured(t, "%d addresses, %d ports by UDP and TCP: at most %d cached flows, in %.1f s, in which %d packets were sent, and %d of them again",
				len(c.to), scanPorts, cachedFlows, time.Since(began).Seconds(), sent, again)
			if most := 20 * (len(c.to) + 1); cachedFlows > most || cachedFlows < 2 {
				lines := cached(t, l, "n1")
				t.Errorf("%d cached flows, want 2 to %d:\n%s", cachedFlows, most, strings.Join(lines[:min(len(lines), 30)], "\n"))
			}
			if left := connections(t, l, "n1", web.Addresses[0]); len(left) > 0 {
				t.Errorf("%d connections, like %s", len(left), left[0])
			}
		})
	}
}

// TestAScanHoldsNobodyUp: others on the node have answers, and pods start there, as they do while the
// pod sends as much to one port of one address that it is denied.
func TestAScanHoldsNobodyUp(t *testing.T) {
	l := recipeLab(t, "")
	knownToBoth(t, l, scanned)
	web, api, dns := pod(t, l, "shop/web"), pod(t, l, "shop/api"), pod(t, l, "ops/dns")
	targets := scanTargets(t, l)
	traffic.ServeEcho(t, dns.Netns)
	n := len(targets) * scanPorts
	var answers, adds [2]time.Duration
	for i, c := range []struct {
		name string
		send func(context.Context)
	}{
		{"one port", func(ctx context.Context) {
			try(ctx, t, web, n, func(int) netip.AddrPort { return netip.AddrPortFrom(targets[0], scanFrom) })
		}},
		{"a scan", func(ctx context.Context) { scan(ctx, t, web, targets, scanPorts) }},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			for ctx.Err() == nil {
				c.send(ctx)
			}
		})
		rtts := roundTrips(t, api.Netns, dns.Addresses[0], time.Second)
		starts := startTimes(t, node(t, l, "n1"), 12)
		rtts = append(rtts, roundTrips(t, api.Netns, dns.Addresses[0], time.Second)...)
		cancel()
		wait.Wait()
		answers[i], adds[i] = median(rtts), median(starts)
		traffic.Measured(t, "beside %s: an answer within %.2f ms (median of %d), an ADD within %.1f ms (of %d)", c.name,
			answers[i].Seconds()*1e3, len(rtts), adds[i].Seconds()*1e3, len(starts))
	}
	// Each new port by a cached flow of its own would take an upcall of 0.1 ms or more, in the one
	// thread that forwards.
	for what, took := range map[string][2]time.Duration{"an answer": answers, "an ADD": adds} {
		if took[1] > 3*took[0]+slow.Bound(5*time.Millisecond) {
			t.Errorf("%s took %s beside a scan, %s beside as much to one port", what, took[1], took[0])
		}
	}
}

// roundTrips are how long datagrams and their echoes took, one after another, those that were lost left out.
func roundTrips(t *testing.T, from string, to netip.Addr, lasting time.Duration) (took []time.Duration) {
	t.Helper()
	var conn net.Conn
	if err := netns.Do(from, func() (err error) {
		conn, err = net.Dial("udp4", netip.AddrPortFrom(to, traffic.EchoPort).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(lasting); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		sent := time.Now()
		number := []byte(fmt.Sprint(sent.UnixNano()))
		if _, err := conn.Write(number); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 64)
		for {
			if err := conn.SetReadDeadline(sent.Add(slow.Bound(time.Second))); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(answer)
			if err != nil {
				break
			}
			if bytes.Equal(answer[:n], number) {
				took = append(took, time.Since(sent))
				break
			}
		}
	}
	return took
}

// startTimes are how long the ADDs of pods took, one after another.
func startTimes(t *testing.T, n lab.NodeListing, pods int) (took []time.Duration) {
	t.Helper()
	for range pods {
		c := call{container: "beside", netns: ovstest.NewNamespace(t).Path}
		began := time.Now()
		added(t, n, c)
		took = append(took, time.Since(began))
		deleted(t, n, c)
	}
	return took
}

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return time.Hour
	}
	return slices.Sorted(slices.Values(list))[len(list)/2]
}

var (
	withPorts = regexp.MustCompile(`\b(?:tcp|udp)\([^)]+\)`)
	// firstBit is what the guard against DHCP servers in pods leaves of a client's UDP source port:
	// the first bit in which it differs.
	firstBit = regexp.MustCompile(`^udp\(src=\d+/0x8000\)$`)
	// ofConnection is what is matched of a connection beside its state.
	ofConnection = regexp.MustCompile(`ct_(?:mark|label|tuple4|tuple6)\([^)]+\)`)
	// notMarked are the mark's two flags, which are not set: policies have not judged the connection, and
	// no Service has given it to a backend.
	notMarked = regexp.MustCompile(`^ct_mark\(0/0x[123]000000\)$`)
)

// TestAPodWithoutPoliciesIsCachedWide: while others on its node have policies, its cached flows have no
// port, but for one bit of the source port of what opens a connection by UDP, no address beyond its
// own and its route, and nothing of its connections but their state, but for the addressee of ICMP errors.
func TestAPodWithoutPoliciesIsCachedWide(t *testing.T) {
	l := recipeLab(t, "")
	knownToBoth(t, l, scanned)
	api, dns, prom := pod(t, l, "shop/api"), pod(t, l, "ops/dns"), pod(t, l, "ops/prom")
	traffic.ServeEcho(t, dns.Netns)
	traffic.ServeEcho(t, prom.Netns)
	on(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
	to := []netip.Addr{dns.Addresses[0], prom.Addresses[0]}
	scan(t.Context(), t, api, to, 100)
	for _, a := range to {
		for _, network := range []string{"tcp4", "udp4"} {
			s := traffic.Connect(t, network, network, api.Netns, a)
			s.Begin()
			time.Sleep(200 * time.Millisecond)
			s.End(t)
		}
	}
	lines := cached(t, l, "n1")
	if len(lines) < 4 {
		t.Errorf("only %d cached flows", len(lines))
	}
	for _, line := range lines {
		line, _, _ := strings.Cut(line, " actions:")
		opens, isError := strings.Contains(line, "+new"), strings.Contains(line, "+rel+rpl")
		for _, m := range withPorts.FindAllString(line, -1) {
			if !opens || !firstBit.MatchString(m) {
				t.Errorf("%s: %s", m, line)
			}
		}
		for _, m := range ofConnection.FindAllString(line, -1) {
			if !notMarked.MatchString(m) && (!isError || !strings.HasPrefix(m, "ct_tuple4(dst=")) {
				t.Errorf("%s: %s", m, line)
			}
		}
	}
	if n := len(connections(t, l, "n1", api.Addresses[0])); n < 200 {
		t.Errorf("only %d connections", n)
	}
	// Few: by protocol, direction and state of the connection.
	traffic.Measured(t, "%d cached flows for 2 addresses, 100 ports by UDP and TCP", len(lines))
	if len(lines) > 40 {
		t.Errorf("%d cached flows:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}
