package hazard_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/hazard"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// run runs a script in the caller's namespace.
func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// machine has a node's devices: sluice0 to its pods, eth0 to its peers and outside.
const machine = `
ip link add sluice0 type veth peer name pods; ip link set sluice0 up; ip link set pods up
ip link add eth0 type veth peer name wire; ip link set eth0 up; ip link set wire up
ip address add 10.9.0.1/24 dev eth0; ip route add default via 10.9.0.254
ip route add 10.244.1.0/24 dev sluice0
`

var node = hazard.Node{
	Gateway: "sluice0", Underlay: "eth0", Kernel: true,
	Tunnel: netip.MustParseAddr("10.9.0.1"), Peers: []netip.Addr{netip.MustParseAddr("10.9.0.2")}, TunnelPort: 6081,
	Pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
}

// base is a base chain of a table "theirs" with these rules, a line each.
func base(hook, policy, rules string) string {
	return "nft -f - <<E\ntable inet theirs {\nchain docker {\noifname docker0 accept\nreturn\n}\nchain nobody {\ndrop\n}\nchain base { type filter hook " +
		hook + " priority 0; policy " + policy + ";\n" + rules + "\n}\n}\nE\n"
}

// TestHazardsAreNamedWithTheirCure makes each, finds it by its words, does what the cure
// says, and finds it no more.
func TestHazardsAreNamedWithTheirCure(t *testing.T) {
	for _, c := range []struct {
		name, make string
		// want are parts of what is to be named; none where it is no hazard.
		want []string
		// cure is what to do where the cure's own words are no command.
		cure string
	}{
		{name: "nothing at all"},
		{name: "a FORWARD chain that drops", make: base("forward", "drop", ""), want: []string{"chain base of the nftables table inet theirs drops what pods send", "drops what comes back"}},
		{name: "that drops by its last rule", make: base("forward", "accept", "oifname docker0 accept\nreject"), want: []string{"chain base"}},
		{name: "that drops in a chain it calls", make: base("forward", "accept", "jump nobody"), want: []string{"chain base"}},
		{name: "that drops only one way", make: base("forward", "drop", "ct state established,related accept"), want: []string{"drops what pods send"}},
		{name: "that serves others, as Docker's", make: base("forward", "drop", "jump docker\niifname { \"docker0\", \"br-*\" } accept\noifname vmap { docker0 : jump docker }"), want: []string{"chain base"}},
		{name: "that drops the cluster's addresses", make: base("forward", "accept", "ip saddr 10.0.0.0/8 drop"), want: []string{"drops what pods send"}},
		{name: "that drops a range", make: base("forward", "accept", "ip saddr 10.244.0.0-10.244.3.255 tcp dport 400-500 drop"), want: []string{"drops what pods send"}},
		{name: "that drops IPv6 only", make: base("forward", "accept", "meta nfproto ipv6 drop")},
		{name: "that drops another port", make: base("forward", "accept", "udp dport 4242 drop\ntcp dport { 23, 25 } drop\noifname != \"eth0\" iifname != \"eth0\" drop")},
		{name: "that lets pods through", make: base("forward", "drop", "iifname \"sluice*\" accept\noifname sluice0 accept")},
		{name: "that lets through what nobody here understands", make: base("forward", "drop", "meta mark & 0x4000 == 0x4000 accept")},
		{name: "that limits", make: base("forward", "accept", "limit rate over 10/second drop")},
		{name: "an INPUT chain that drops the tunnels", make: base("input", "drop", "ct state established,related,new accept"), want: []string{"drops the tunnels of other nodes"}},
		{name: "an INPUT chain that lets them in", make: base("input", "drop", "udp dport { 53, 6081 } accept")},

		{name: "Docker's iptables", make: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", want: []string{"chain FORWARD of iptables-nft' table filter drops what pods send", "drops what comes back"}},
		{name: "iptables of the old kind", make: "iptables-legacy -P FORWARD DROP", want: []string{"chain FORWARD of iptables-legacy' table filter drops what pods send"}},
		{name: "iptables that rejects in a chain", make: `iptables-nft -N X; iptables-nft -A X ! -i docker0 -m comment --comment "a \"b\" -j c" -j REJECT; iptables-nft -A FORWARD -j X`, want: []string{"chain FORWARD"}},
		{name: "iptables that lets established ones through", make: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", want: []string{"drops what pods send"}},
		{name: "iptables that lets pods through", make: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i sluice+ -j ACCEPT; iptables-nft -A FORWARD -o sluice0 -m comment --comment ours -j ACCEPT"},
		{name: "iptables that asks for a mark", make: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT"},
		{name: "iptables that drops the tunnels", make: "iptables-nft -A INPUT -p udp --dport 6000:6100 -j DROP", want: []string{"chain INPUT of iptables-nft' table filter drops the tunnels"}},

		{name: "a strict filter where it does no harm", make: "sysctl -qw net.ipv4.conf.all.rp_filter=1"},
		{name: "a strict filter, and another way back to pods", make: "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.sluice0.rp_filter=1; ip rule add to 10.244.0.0/16 lookup 77; ip route add default dev eth0 table 77", want: []string{"sluice0 filters reverse paths strictly", "by eth0"}, cure: "sysctl -qw net.ipv4.conf.sluice0.rp_filter=2"},
		{name: "a strict filter for all, and no way back to a peer", make: "sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 10.9.0.2/32 dev sluice0", want: []string{"eth0 filters reverse paths strictly", "other nodes"}, cure: "sysctl -qw net.ipv4.conf.eth0.rp_filter=2"},
		{name: "a loose filter", make: "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=2; ip route add 10.9.0.2/32 dev sluice0"},

		{name: "another device on the tunnels' port", make: "ip link add theirs type vxlan id 5 dev eth0 dstport 6081", want: []string{"device theirs (vxlan) has the tunnels' UDP port 6081"}, cure: "ip link delete theirs"},
		{name: "a device on another port", make: "ip link add theirs type vxlan id 5 dev eth0 dstport 4789"},

		{name: "another CNI's devices", make: "ip link add cali1234567890a type veth peer name far; ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472", want: []string{"device cali1234567890a: of Calico", "device flannel.1: of Flannel"}, cure: "ip link delete cali1234567890a; ip link delete flannel.1"},
		{name: "another CNI's rules", make: "iptables-legacy -N cali-FORWARD; iptables-legacy -A cali-FORWARD -j RETURN", want: []string{"chain cali-FORWARD: of Calico"}, cure: "iptables-legacy -F; iptables-legacy -X"},
		{name: "kube-proxy's rules without kube-proxy", make: "iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -A KUBE-SERVICES -d 10.96.0.1/32 -j RETURN", want: []string{"chain KUBE-SERVICES: of kube-proxy, which does not run here"}, cure: "iptables-nft -t nat -F; iptables-nft -t nat -X"},
		{name: "kube-proxy's nftables", make: "nft add table ip kube-proxy; nft add chain ip kube-proxy services", want: []string{"of kube-proxy, which does not run here"}, cure: "nft delete table ip kube-proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ovstest.NewNamespace(t).Do(func() {
				run(t, machine+c.make)
				found := hazard.Look(t.Context(), node)
				if len(c.want) == 0 && len(found) > 0 {
					t.Fatalf("found %v", found)
				}
				for _, want := range c.want {
					if !slices.ContainsFunc(found, func(h hazard.Hazard) bool { return strings.Contains(h.What, want) && h.Cure != "" }) {
						t.Errorf("not found: %s; found %v", want, found)
					}
				}
				for _, h := range found {
					if c.cure == "" {
						run(t, h.Cure)
					} else if strings.HasPrefix(c.cure, "sysctl") && !strings.Contains(h.Cure, "sysctl -w"+strings.TrimPrefix(c.cure, "sysctl -qw")) {
						t.Errorf("the cure is %q", h.Cure)
					}
				}
				run(t, c.cure)
				if found := hazard.Look(t.Context(), node); len(found) > 0 {
					t.Errorf("after the cure: %v", found)
				}
			})
		})
	}
}

func TestAProgramOnTheTunnelsPortIsNamed(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, machine)
		socket, err := net.ListenPacket("udp4", ":6081")
		if err != nil {
			t.Fatal(err)
		}
		found := hazard.Look(t.Context(), node)
		self, _ := os.ReadFile("/proc/self/comm")
		if len(found) != 1 || !strings.HasPrefix(found[0].What, strings.TrimSpace(string(self))+" (process ") {
			t.Errorf("found %v", found)
		}
		if err := socket.Close(); err != nil {
			t.Fatal(err)
		}
		if found := hazard.Look(t.Context(), node); len(found) > 0 {
			t.Errorf("once it is closed: %v", found)
		}
	})
}

func TestKubeProxysRulesAreItsOwnWhileItRuns(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, machine+"ip link set lo up; nft add table ip kube-proxy")
		health, err := net.Listen("tcp4", "127.0.0.1:10256")
		if err != nil {
			t.Fatal(err)
		}
		defer health.Close()
		if found := hazard.Look(t.Context(), node); len(found) > 0 {
			t.Errorf("found %v", found)
		}
	})
}

func TestAConfigurationBeforeOursIsNamed(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, machine)
		n := node
		n.ConfDir, n.Conf = t.TempDir(), "10-sluice.conflist"
		for _, name := range []string{"05-theirs.conflist", "00-notes.txt", "10-sluice.conflist", "87-podman.conflist"} {
			if err := os.WriteFile(filepath.Join(n.ConfDir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found := hazard.Look(t.Context(), n)
		if len(found) != 1 || !strings.Contains(found[0].What, "05-theirs.conflist before 10-sluice.conflist") {
			t.Errorf("found %v", found)
		}
	})
}

// TestUserspaceOpenVSwitchIsBeforeTheFirewall: an INPUT chain, and reverse path filters
// of the underlay, do not see its tunnels.
func TestUserspaceOpenVSwitchIsBeforeTheFirewall(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, machine+base("input", "drop", "")+"sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 10.9.0.2/32 dev sluice0")
		n := node
		n.Kernel = false
		if found := hazard.Look(t.Context(), n); len(found) > 0 {
			t.Errorf("found %v", found)
		}
	})
}
