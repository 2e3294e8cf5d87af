package hazard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// passage is what must get through a hook of the firewall.
type passage struct {
	what, hook string
	packet     packet
	// nft and iptables are the matches of rules that let it through.
	nft, iptables []string
}

// elsewhere are addresses outside of any cluster, for documentation (RFC 5737, 3849).
var elsewhere = map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.77"), false: netip.MustParseAddr("2001:db8::77")}

// passages are what pods need of the host's firewall: that it forwards for them, both
// ways, and lets the tunnels in.
func passages(n Node) []passage {
	var out []passage
	for _, p := range n.Pods {
		pod, far := p.Addr().Next().Next(), elsewhere[p.Addr().Is4()]
		wayOut, err := deviceTo(far)
		if err != nil || wayOut == "" {
			wayOut = n.Underlay
		}
		there := passage{
			what: "what pods send to the outside", hook: "forward",
			packet: ipPacket(pod, far, "tcp", "443", "new"),
			nft:    []string{"iifname " + n.Gateway, "oifname " + n.Gateway}, iptables: []string{"-i " + n.Gateway, "-o " + n.Gateway},
		}
		there.packet[inDevice], there.packet[outDevice] = n.Gateway, wayOut
		back := there
		back.what, back.packet = "what comes back to pods from the outside", ipPacket(far, pod, "tcp", "40000", "established")
		back.packet[inDevice], back.packet[outDevice] = wayOut, n.Gateway
		out = append(out, there, back)
	}
	for _, peer := range n.Peers {
		if !n.Kernel || peer.Is4() != n.Tunnel.Is4() {
			continue
		}
		port := fmt.Sprint(n.TunnelPort)
		in := passage{
			what: "the tunnels of other nodes", hook: "input", packet: ipPacket(peer, n.Tunnel, "udp", port, "untracked"),
			nft: []string{"udp dport " + port}, iptables: []string{"-p udp --dport " + port},
		}
		in.packet[inDevice] = n.Underlay
		out = append(out, in)
	}
	return out
}

func ipPacket(src, dst netip.Addr, proto, port, state string) packet {
	p := packet{source: src.String(), dest: dst.String(), protocol: proto, destPort: port, connState: state, family: "ipv4"}
	if src.Is6() {
		p[family] = "ipv6"
	}
	return p
}

// firewall looks for chains that certainly drop what must pass.
func firewall(ctx context.Context, n Node) ([]Hazard, error) {
	all := passages(n)
	var out []Hazard
	read := map[string]bool{} // families whose nft-backed iptables was read in its own words
	var errs []error
	for _, k := range iptablesKinds {
		if !k.inUse() {
			continue
		}
		tables, err := k.save(ctx)
		switch {
		case errors.Is(err, errNoProgram) && !k.legacy:
			continue // nft shows them, if less well
		case err != nil:
			errs = append(errs, err)
			continue
		}
		read[k.family] = read[k.family] || !k.legacy
		for name, chains := range tables {
			out = append(out, iptablesHazards(k, name, chains, all)...)
		}
	}
	tables, err := nftTables(ctx)
	for t, chains := range tables {
		if _, builtIn := chains["FORWARD"]; !read[t.family] || !builtIn {
			out = append(out, nftHazards(t, chains, all)...)
		}
	}
	return out, errors.Join(append(errs, err)...)
}

// drops are the hazards of a table's chains: what, by the chain's name, says which chain it is, and cure
// what lets a passage through it.
func drops(tableFamily string, chains map[string]chain, all []passage, what func(name string) string, cure func(name string, p passage) []string) []Hazard {
	var out []Hazard
	for name, c := range chains {
		for _, p := range all {
			if c.hook == p.hook && sees(tableFamily, p.packet) && dropsIn(chains, name, p.packet) {
				out = append(out, Hazard{what(name) + " drops " + p.what, strings.Join(cure(name, p), "; ")})
			}
		}
	}
	return out
}

func nftHazards(t nftTable, chains map[string]chain, all []passage) []Hazard {
	what := func(name string) string {
		return fmt.Sprintf("chain %s of the nftables table %s %s", name, t.family, t.name)
	}
	return drops(t.family, chains, all, what, func(name string, p passage) (cures []string) {
		for _, m := range p.nft {
			cures = append(cures, fmt.Sprintf("nft insert rule %s %s %s %s accept", t.family, t.name, name, m))
		}
		return cures
	})
}

// sees tells whether a table of the family meets the packet.
func sees(tableFamily string, p packet) bool {
	return tableFamily == "inet" || tableFamily == map[string]string{"ipv4": "ip", "ipv6": "ip6"}[p[family]]
}

func iptablesHazards(k iptablesKind, table string, chains map[string]chain, all []passage) []Hazard {
	what := func(name string) string {
		return fmt.Sprintf("chain %s of %s' table %s", name, k.program, table)
	}
	return drops(k.family, chains, all, what, func(name string, p passage) (cures []string) {
		for _, m := range p.iptables {
			cures = append(cures, fmt.Sprintf("%s -t %s -I %s %s -j ACCEPT", k.program, table, name, m))
		}
		return cures
	})
}
