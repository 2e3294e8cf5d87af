package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// portMap is one of the maps that lead the node's ports to pods: of one family, and either
// for all of the node's addresses or for single ones.
type portMap struct {
	name string
	v4   bool
	// at is set where the node's address is part of the key.
	at bool
}

var portMaps = []portMap{
	{"host_ports_at4", true, true}, {"host_ports4", true, false}, {"host_ports_at6", false, true}, {"host_ports6", false, false},
}

// portMapOf is the map that has the port.
func portMapOf(h render.HostPort) portMap {
	i := slices.IndexFunc(portMaps, func(m portMap) bool { return m.v4 == h.To.Addr().Is4() && m.at == h.Address.IsValid() })
	return portMaps[i]
}

// ip is the family's name in nft(8).
func (m portMap) ip() string {
	return nftFamily(m.v4)
}

func (m portMap) definition() *knftables.Map {
	address := "ipv6_addr"
	if m.v4 {
		address = "ipv4_addr"
	}
	key := "inet_proto . inet_service"
	if m.at {
		key = address + " . " + key
	}
	return &knftables.Map{Name: m.name, Type: key + " : " + address + " . inet_service", Comment: knftables.PtrTo("ports of this node that lead to pods")}
}

// rule translates what is for one of the ports.
func (m portMap) rule() *knftables.Rule {
	key := "meta l4proto . th dport"
	if m.at {
		key = m.ip() + " daddr . " + key
	}
	return &knftables.Rule{Chain: "host_ports", Rule: knftables.Concat("dnat", m.ip(), "to", key, "map @", m.name)}
}

func portElement(h render.HostPort) *knftables.Element {
	m := portMapOf(h)
	e := &knftables.Element{
		Map:   m.name,
		Key:   []string{strings.ToLower(string(h.Protocol)), strconv.Itoa(int(h.Port))},
		Value: []string{h.To.Addr().String(), strconv.Itoa(int(h.To.Port()))},
	}
	if m.at {
		e.Key = append([]string{h.Address.String()}, e.Key...)
	}
	return e
}

// hostPorts hold the way to pods by ports of the node: all clients but the pods, which the
// switch serves.
func hostPorts(tx *knftables.Transaction, want render.Rules) {
	tx.Add(&knftables.Chain{Name: "host_ports"})
	for _, m := range portMaps {
		tx.Add(m.definition())
		tx.Add(m.rule())
	}
	for _, h := range want.HostPorts {
		tx.Add(portElement(h))
	}
	for _, c := range []struct {
		name, from string
		hook       knftables.BaseChainHook
	}{{"host_ports_in", "iifname != " + quoted(render.GatewayDevice), knftables.PreroutingHook}, {"host_ports_out", "", knftables.OutputHook}} {
		tx.Add(&knftables.Chain{
			Name: c.name, Type: knftables.PtrTo(knftables.NATType), Hook: knftables.PtrTo(c.hook), Priority: knftables.PtrTo(knftables.DNATPriority),
			Comment: knftables.PtrTo("ports of this node that lead to pods; who sends is not translated"),
		})
		tx.Add(&knftables.Rule{Chain: c.name, Rule: knftables.Concat(c.from, "fib daddr type local jump host_ports")})
	}
}

// putPorts puts other host ports in place of those that are there, and leaves all else.
func putPorts(ctx context.Context, from, to []render.HostPort) error {
	nft, err := knftables.New(knftables.InetFamily, table)
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, h := range from {
		if !slices.Contains(to, h) {
			tx.Delete(portElement(h))
		}
	}
	for _, h := range to {
		if !slices.Contains(from, h) {
			tx.Add(portElement(h))
		}
	}
	return nft.Run(ctx, tx)
}

// InstalledHostPorts are those that the host's rules lead to pods. The machine is that of the
// caller's network namespace.
func InstalledHostPorts(ctx context.Context) ([]render.HostPort, error) {
	nft, err := knftables.New(knftables.InetFamily, table)
	if err != nil {
		return nil, err
	}
	var out []render.HostPort
	for _, m := range portMaps {
		elements, err := nft.ListElements(ctx, "map", m.name)
		if knftables.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range elements {
			if h, ok := m.read(e); ok {
				out = append(out, h)
			}
		}
	}
	return out, nil
}

// read is the port that an element is; ok is false for what no agent has written.
func (m portMap) read(e *knftables.Element) (h render.HostPort, ok bool) {
	key := e.Key
	if m.at && len(key) == 3 {
		h.Address, _ = netip.ParseAddr(key[0])
		key = key[1:]
	}
	if len(key) != 2 || len(e.Value) != 2 {
		return h, false
	}
	port, err := strconv.ParseUint(key[1], 10, 16)
	podPort, err2 := strconv.ParseUint(e.Value[1], 10, 16)
	pod, err3 := netip.ParseAddr(e.Value[0])
	h.Protocol, ok = readProtocol(key[0])
	h.Port, h.To = uint16(port), netip.AddrPortFrom(pod, uint16(podPort))
	return h, ok && errors.Join(err, err2, err3) == nil
}

// readProtocol reads what nft makes of a protocol: its name, or its number where there is no
// /etc/protocols, as in the smaller images.
func readProtocol(s string) (state.Protocol, bool) {
	for _, p := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
		if strings.EqualFold(s, string(p)) || s == strconv.FormatUint(p.Number(), 10) {
			return p, true
		}
	}
	return "", false
}
