package render

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
)

// Names of the devices that are ours.
const (
	Bridge        = "br-sluice"
	GatewayDevice = "sluice0"
	TunnelDevice  = "sluice-tun"
	// PodDevicePrefix begins the host end's name of every pod's veth.
	PodDevicePrefix = "slc"
)

// IPv6Forwarding is the sysctl that lets the host forward IPv6. It is set where pods
// have IPv6. With it Linux leaves router advertisements to be ignored where accept_ra
// is 1 (networking/ip-sysctl): whoever sets it must see to them.
const IPv6Forwarding = "net/ipv6/conf/all/forwarding"

// Host is what the node's own network stack must hold for the pods: the gateway
// port, routes to all pods, and the rules of one nftables table. What is not named
// here is not ours.
type Host struct {
	Gateway GatewayPort `json:"gateway"`
	Routes  []Route     `json:"routes,omitempty"`
	// Cables are the host's ends of this node's pods.
	Cables []Cable `json:"cables,omitempty"`
	// Sysctls by path under /proc/sys.
	Sysctls []Sysctl `json:"sysctls,omitempty"`
	// Rules is the nftables ruleset, each table of ours whole.
	Rules Rules `json:"rules"`
}

// GatewayPort is the internal port that is the host's way to the pods.
type GatewayPort struct {
	Device string `json:"device"`
	MAC    string `json:"mac"`
	MTU    int    `json:"mtu,omitempty"`
	// Addresses are the node's own in its podCIDRs, each alone (/32, /128).
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Neighbours are permanent: the virtual router.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// Loopback lets the device hear what is for ::1 once its translation is undone: answers to
	// what ::1 has sent to a host port. It is a local route, as IPv6 has no route_localnet. What is for ::1
	// on the wire Linux drops before.
	Loopback bool `json:"loopback,omitempty"`
}

// Neighbour is a permanent entry on the gateway device.
type Neighbour struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
}

// Route leads to pods by the virtual router, on the gateway device.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
	// Source is the address that the host speaks with.
	Source netip.Addr `json:"source"`
}

// Cable is the host's end of a pod's veth, which is up.
type Cable struct {
	Device string `json:"device"`
	MAC    string `json:"mac"`
	// MTU in bytes; 0 if it is not known what the cable was made with.
	MTU int `json:"mtu,omitempty"`
}

// Sysctl is a kernel setting.
type Sysctl struct {
	Path  string `json:"path"`
	Value string `json:"value"`
}

// Rules are what the nftables table "sluice" does.
type Rules struct {
	// Local are this node's podCIDRs, whose packets are masqueraded when they leave
	// for anything but Cluster.
	Local []netip.Prefix `json:"local,omitempty"`
	// Cluster are all podCIDRs, of both families.
	Cluster []netip.Prefix `json:"cluster,omitempty"`
	// Masquerade is off where the operator wants pods' addresses to be seen.
	Masquerade bool `json:"masquerade"`
	// Hairpins are sources that stand for the host itself, and are masqueraded in any case
	// when they leave the machine.
	Hairpins []netip.Addr `json:"hairpins,omitempty"`
	// Refused are the sources of what is refused: a client of a Service that nobody serves.
	Refused []netip.Prefix `json:"refused,omitempty"`
	// HostPorts are the node's ports that lead to its pods. What comes by the gateway device is
	// none of theirs: the switch translates what pods send.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
	// Gateways are the node's addresses in its podCIDRs, one of each family: the source of what the host
	// sends into the switch to anything but its own pods (Local), as far as the answer must find its way back from
	// another node. Also of what 127.0.0.1 or ::1 sends to a host port.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// Untracked are UDP ports of the tunnels, kept out of the host's conntrack, which
	// each tunnelled connection would fill with an entry.
	Untracked []uint16 `json:"untracked,omitempty"`
	// Unheard are devices whose frames the host must not take: userspace Open
	// vSwitch owns them, and the kernel would hear every frame a second time. A
	// name may end in "*".
	Unheard []string `json:"unheard,omitempty"`
}

// HostSide renders what the host of the node s.Node must hold.
func HostSide(s state.State) Host {
	d := &division{state: s}
	d.settle()
	h := Host{
		Gateway: GatewayPort{Device: GatewayDevice, MTU: MTU(s)},
		Sysctls: []Sysctl{{"net/ipv4/ip_forward", "1"}},
		Rules: Rules{
			Masquerade: !s.Config.NoMasquerade,
			Untracked:  []uint16{TunnelPort(Encapsulation(s.Config))},
		},
	}
	if s.Facts.Datapath == "netdev" {
		h.Rules.Unheard = append(slices.Sorted(slices.Values(s.Facts.NativeDevices)), PodDevicePrefix+"*")
	}
	self, ok := s.Self()
	if !ok {
		return h
	}
	own := d.podCIDRsOf(self)
	h.Gateway.MAC = gatewayMAC(own).String()
	source := map[bool]netip.Addr{} // by Is4
	for _, p := range own {
		gw := Gateway(p)
		h.Gateway.Addresses = append(h.Gateway.Addresses, netip.PrefixFrom(gw, gw.BitLen()))
		if _, ok := source[gw.Is4()]; !ok {
			source[gw.Is4()] = gw
			h.Gateway.Neighbours = append(h.Gateway.Neighbours, Neighbour{RouterFor(gw), RouterMAC.String()})
		}
	}
	if _, ok := source[false]; ok {
		h.Sysctls = append(h.Sysctls,
			Sysctl{"net/ipv6/conf/" + GatewayDevice + "/disable_ipv6", "0"},
			Sysctl{IPv6Forwarding, "1"})
	}
	h.Rules.Local = own
	h.Rules.HostPorts = d.hostPorts()
	if gw, ok := source[true]; ok {
		localnet := "0"
		if onLoopback(h.Rules.HostPorts, true) {
			localnet = "1"
		}
		h.Sysctls = append(h.Sysctls, Sysctl{"net/ipv4/conf/" + GatewayDevice + "/route_localnet", localnet})
		h.Rules.Gateways = append(h.Rules.Gateways, gw)
	}
	if gw, ok := source[false]; ok {
		h.Gateway.Loopback = onLoopback(h.Rules.HostPorts, false)
		h.Rules.Gateways = append(h.Rules.Gateways, gw)
	}
	for _, n := range s.Nodes {
		for _, p := range n.PodCIDRs {
			if p = p.Masked(); d.podCIDRs.Holds(p, claims.OfNode(n)) && !slices.Contains(h.Rules.Cluster, p) {
				h.Rules.Cluster = append(h.Rules.Cluster, p)
			}
		}
	}
	slices.SortFunc(h.Rules.Cluster, comparePrefix)
	for _, p := range h.Rules.Cluster {
		src, ok := source[p.Addr().Is4()]
		if slices.Contains(own, p) {
			src = answerWith(s, src)
		}
		if ok {
			h.Routes = append(h.Routes, Route{To: p, Via: RouterFor(p.Addr()), Source: src})
		}
	}
	h.services(s, source)
	// A pod may have an address that is in no podCIDR.
	for _, a := range d.attachments() {
		for _, addr := range a.Addresses {
			src, ok := source[addr.Is4()]
			if ok && !slices.ContainsFunc(h.Rules.Cluster, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				h.Routes = append(h.Routes, Route{To: netip.PrefixFrom(addr, addr.BitLen()), Via: RouterFor(addr), Source: src})
			}
		}
	}
	h.Cables = cables(s.Attachments)
	slices.SortFunc(h.Routes, func(a, b Route) int { return comparePrefix(a.To, b.To) })
	h.Routes = slices.Compact(h.Routes)
	return h
}

// answerWith is the source of what the host sends to its own pods: the node's address, if it is on this
// machine. A program that listens on all addresses answers by UDP with the route's source, and a pod
// that has asked the node's address takes no other's answer.
func answerWith(s state.State, gateway netip.Addr) netip.Addr {
	ends := s.Facts.Tunnels()
	if s.Facts.Datapath == "" { // not looked at
		ends = tunnelEnds(s)
	}
	for _, a := range ends {
		if a.Is4() == gateway.Is4() {
			return a
		}
	}
	return gateway
}

// services adds what the host needs for Services, if there are any: as their client it sends to the
// switch, and it refuses what nobody serves. source are the gateway's addresses, by Is4.
func (h *Host) services(s state.State, source map[bool]netip.Addr) {
	to := map[netip.Prefix]bool{}
	for _, p := range s.Config.ServiceCIDRs {
		to[p.Masked()] = true
	}
	for _, o := range s.Services {
		for _, a := range o.ClusterIPs {
			if !slices.ContainsFunc(s.Config.ServiceCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
				to[netip.PrefixFrom(a, a.BitLen())] = true
			}
		}
	}
	served := map[bool]bool{}
	for p := range to {
		if src, ok := source[p.Addr().Is4()]; ok {
			served[p.Addr().Is4()] = true
			h.Routes = append(h.Routes, Route{To: p, Via: RouterFor(p.Addr()), Source: src})
		}
	}
	for _, six := range []bool{false, true} {
		if !served[!six] {
			continue
		}
		hairpin, refused := service.HairpinFor(six), service.RefusedFor(six)
		h.Rules.Hairpins = append(h.Rules.Hairpins, hairpin)
		h.Rules.Refused = append(h.Rules.Refused, refused)
		for _, p := range []netip.Prefix{netip.PrefixFrom(hairpin, hairpin.BitLen()), refused} {
			h.Routes = append(h.Routes, Route{To: p, Via: RouterFor(hairpin), Source: answerWith(s, source[!six])})
		}
	}
}

// cables are the host's ends of these attachments, by name. One that was derived from a
// Pod alone has none.
func cables(attachments []state.Attachment) []Cable {
	var out []Cable
	for _, a := range attachments {
		if mac, err := net.ParseMAC(a.MAC); err == nil && a.Port != "" {
			out = append(out, Cable{a.Port, HostMAC(mac).String(), a.MTU})
		}
	}
	slices.SortFunc(out, func(a, b Cable) int { return strings.Compare(a.Device, b.Device) })
	return out
}

// HostMAC is the MAC of the host's end of a cable: the pod's with another bit set, 0e:58
// for 0a:58. It is nobody's destination.
func HostMAC(pod net.HardwareAddr) net.HardwareAddr {
	mac := slices.Clone(pod)
	mac[0] ^= 0x04
	return mac
}

// RouterFor is the virtual router's address of an address's family.
func RouterFor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return Router
	}
	return RouterIPv6
}

// Here are those of a family with which the host speaks by any address of its own: its own pods, and the
// sources that lead back to the switch.
func (r Rules) Here(v4 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range r.Local {
		if p.Addr().Is4() == v4 {
			out = append(out, p)
		}
	}
	for _, a := range r.Hairpins {
		if a.Is4() == v4 {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, p := range r.Refused {
		if p.Addr().Is4() == v4 {
			out = append(out, p)
		}
	}
	return out
}

// clusterOf are the podCIDRs of a prefix's family.
func (r Rules) clusterOf(p netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range r.Cluster {
		if c.Addr().Is4() == p.Addr().Is4() {
			out = append(out, c)
		}
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// String is the host's side in the words of ip(8), sysctl(8) and nft(8), a line a
// thing, for people and for tests.
func (h Host) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	g := h.Gateway
	if mac, err := net.ParseMAC(g.MAC); err == nil {
		line("ip link set %s address %s up", g.Device, mac)
	}
	if g.MTU != 0 {
		line("ip link set %s mtu %d", g.Device, g.MTU)
	}
	for _, a := range g.Addresses {
		line("ip address add %s dev %s", a, g.Device)
	}
	for _, n := range g.Neighbours {
		line("ip neighbour add %s lladdr %s dev %s nud permanent", n.Address, n.MAC, g.Device)
	}
	if g.Loopback {
		line("ip route add local ::1 dev %s table local", g.Device)
	}
	for _, r := range h.Routes {
		line("ip route add %s via %s dev %s onlink src %s", r.To, r.Via, g.Device, r.Source)
	}
	for _, c := range h.Cables {
		line("ip link set %s address %s up", c.Device, c.MAC)
		if c.MTU != 0 {
			line("ip link set %s mtu %d", c.Device, c.MTU)
		}
	}
	for _, s := range h.Sysctls {
		line("sysctl -w %s=%s", strings.ReplaceAll(s.Path, "/", "."), s.Value)
	}
	for _, p := range h.Rules.Untracked {
		line("nft notrack udp dport %d", p)
	}
	for _, u := range h.Rules.Unheard {
		line("nft drop what comes in by %s", u)
	}
	for _, p := range h.Rules.Refused {
		line("nft refuse what comes in by %s from %s", GatewayDevice, p)
	}
	for _, a := range h.Rules.Hairpins {
		line("nft masquerade from %s", a)
	}
	for _, p := range h.Rules.HostPorts {
		line("nft dnat to %s what is for this node's %s", p.To, p.OnNode())
	}
	for _, gw := range h.Rules.Gateways {
		line("nft snat to %s what another address of this node sends by %s to anything but %v", gw, g.Device, h.Rules.Here(gw.Is4()))
		if onLoopback(h.Rules.HostPorts, gw.Is4()) {
			line("nft snat to %s what %s sends there", gw, Loopback(gw.Is4()))
		}
	}
	if h.Rules.Masquerade {
		for _, p := range h.Rules.Local {
			line("nft masquerade from %s to what is not in %v", p, h.Rules.clusterOf(p))
		}
	}
	return b.String()
}
