package scenarios

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
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
    ports: [{port: 8080}, {port: 9000, endPort: 9099}, {port: 53, protocol: UDP}]
  - to: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}]
    ports: [{port: 7443}, {port: 3000, endPort: 3999}]
`

const (
	scanAddresses = 20
	scanPorts     = 500
	scanFrom      = 8081 // next to an allowed one
)

// scan sends a datagram and a SYN to each port of each address.
func scan(t *testing.T, namespace string, addresses []netip.Addr, ports int) {
	t.Helper()
	err := netns.Do(namespace, func() error {
		socket, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer socket.Close()
		for _, a := range addresses {
			for port := scanFrom; port < scanFrom+ports; port++ {
				// That nobody answers may be reported for an earlier one.
				_, _ = socket.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(port))))
				if err := knock(a, port); err != nil {
					return err
				}
				if port%10 == 0 {
					time.Sleep(time.Millisecond) // a link's queue holds some hundred packets
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// knock sends a SYN and forgets about it.
func knock(a netip.Addr, port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_ = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: a.As4()}) // in progress, or refused
	return nil
}

// cached are the lines of a node's flow cache but for those of the tunnel's own packets.
func cached(t *testing.T, l *lab.Lab, n string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(on(t, l, "node/"+n, "ovs-appctl", "dpctl/dump-flows")) {
		if strings.Contains(line, "eth_type(0x0800)") && !strings.Contains(line, "tnl_pop") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

var packets = regexp.MustCompile(` packets:(\d+),`)

// packetsOf is how many packets have come into the switch by cached flows.
func packetsOf(t *testing.T, lines []string) (sum int) {
	t.Helper()
	for _, line := range lines {
		m := packets.FindStringSubmatch(line)
		if m == nil || !strings.Contains(line, "recirc_id(0)") {
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
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

// TestAScanLeavesNothing: on a node whose pod is denied what it tries, or is tried, there are few
// cached flows, and no connections. (Another node, whose own pod tries and is not denied there,
// remembers what that opens.)
func TestAScanLeavesNothing(t *testing.T) {
	l := recipeLab(t, "")
	knownToBoth(t, l, scanned)
	web := pod(t, l, "shop/web")
	var targets []netip.Addr
	for _, name := range []string{"shop/api", "shop/db", "dev/web", "ops/dns", "ops/prom"} {
		targets = append(targets, pod(t, l, name).Addresses[0])
	}
	for a := netip.MustParseAddr("10.244.1.200"); len(targets) < 12; a = a.Next() {
		targets = append(targets, a)
	}
	for a := netip.MustParseAddr("10.244.2.200"); len(targets) < scanAddresses; a = a.Next() {
		targets = append(targets, a)
	}
	for _, c := range []struct {
		name, from string
		to         []netip.Addr
	}{
		{"denied its sending", web.Netns, targets},
		{"denied at the other end", pod(t, l, "shop/api").Netns, web.Addresses[:1]},
		{"denied at the other end, from another node", pod(t, l, "shop/db").Netns, web.Addresses[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			on(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
			began := time.Now()
			scan(t, c.from, c.to, scanPorts)
			took := time.Since(began)
			// Before the cached flows end, 10 seconds after their last packet.
			within(t, 3*time.Second, "the switch has had most of it", func() error {
				if got, sent := packetsOf(t, cached(t, l, "n1")), 2*scanPorts*len(c.to); got < sent*3/4 {
					return fmt.Errorf("%d of %d packets", got, sent)
				}
				return nil
			})
			lines := cached(t, l, "n1")
			traffic.Measured(t, "%d addresses, %d ports by UDP and TCP: %d cached flows, in %d ms", len(c.to), scanPorts, len(lines), took.Milliseconds())
			if most := 20 * (len(c.to) + 1); len(lines) > most || len(lines) < 2 {
				t.Errorf("%d cached flows, want 2 to %d:\n%s", len(lines), most, strings.Join(lines[:min(len(lines), 30)], "\n"))
			}
			if left := connections(t, l, "n1", web.Addresses[0]); len(left) > 0 {
				t.Errorf("%d connections, like %s", len(left), left[0])
			}
		})
	}
}

var (
	withPorts = regexp.MustCompile(`\b(?:tcp|udp)\([^)]+\)`)
	// fewBits is what the guard against DHCP servers in pods leaves of any other UDP source port:
	// the first bits in which it differs.
	fewBits = regexp.MustCompile(`^udp\(src=\d+/0x[0-9a-f]+\)$`)
	// ofConnection is what is matched of a connection beside its state.
	ofConnection = regexp.MustCompile(`ct_(?:mark|label|tuple4|tuple6)\([^)]+\)`)
	// notJudged is one bit: the connection's mark says nothing.
	notJudged = "ct_mark(0/0x1000000)"
)

// TestAPodWithoutPoliciesIsCachedWide: while others on its node have policies, its cached flows have no
// port, but for some bits of UDP's source ports before connections are tracked, and nothing of
// its connections but their state, but for the addressee of ICMP errors.
func TestAPodWithoutPoliciesIsCachedWide(t *testing.T) {
	l := recipeLab(t, "")
	knownToBoth(t, l, scanned)
	api, dns, prom := pod(t, l, "shop/api"), pod(t, l, "ops/dns"), pod(t, l, "ops/prom")
	traffic.ServeEcho(t, dns.Netns)
	traffic.ServeEcho(t, prom.Netns)
	on(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
	to := []netip.Addr{dns.Addresses[0], prom.Addresses[0]}
	scan(t, api.Netns, to, 100)
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
		line, actions, _ := strings.Cut(line, " actions:")
		first, isError := strings.Contains(actions, "recirc("), strings.Contains(line, "+rel+rpl")
		for _, m := range withPorts.FindAllString(line, -1) {
			if !first || !fewBits.MatchString(m) {
				t.Errorf("%s: %s", m, line)
			}
		}
		for _, m := range ofConnection.FindAllString(line, -1) {
			if m != notJudged && (!isError || !strings.HasPrefix(m, "ct_tuple4(dst=")) {
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
