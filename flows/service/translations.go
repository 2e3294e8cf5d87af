package service

import (
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Translation is what becomes of connections to a virtual address and port: they are a backend's.
type Translation struct {
	Frontend
	Backend netip.AddrPort
}

// Translations are those that flows and groups make of new UDP connections: of one Service, or of
// all that a switch holds.
//
// UDP alone: whoever opens a TCP connection or an SCTP association anew does so from another port, and is
// given a backend anew; a UDP socket sends on, and what is known of it stays. (kube-proxy draws the line
// there too.)
func Translations(list []flows.Flow, groups []flows.Group) map[Translation]bool {
	byID := make(map[uint32]*flows.Group, len(groups))
	for i := range groups {
		byID[groups[i].ID] = &groups[i]
	}
	out := map[Translation]bool{}
	for _, f := range list {
		front, ok := udpFrontend(f)
		if !ok {
			continue
		}
		for _, backend := range backendsOf(f.Actions, byID, nil, nestedMost) {
			out[Translation{front, backend}] = true
		}
	}
	return out
}

// nestedMost is how deep groups are looked into: a root and its leaves.
const nestedMost = 4

// udpFrontend is the virtual address and port that a flow of the table service is of.
func udpFrontend(f flows.Flow) (front Frontend, ok bool) {
	if f.Table != flows.Service {
		return front, false
	}
	port, ok := f.Match.Get(flows.UDPDst)
	if !ok || port.Mask != flows.UDPDst.Ones() {
		return front, false
	}
	front = Frontend{Protocol: state.UDP, Port: uint16(port.Value.Uint64())}
	if t, has := f.Match.Get(flows.IPv4Dst); has && t.Mask == flows.IPv4Dst.Ones() {
		front.Address = netip.AddrFrom4([4]byte(t.Value[12:]))
	} else if t, has := f.Match.Get(flows.IPv6Dst); has && t.Mask == flows.IPv6Dst.Ones() {
		front.Address = netip.AddrFrom16(t.Value)
	}
	return front, front.Address.IsValid()
}

// backendsOf are those that actions translate to, themselves or by way of groups.
func backendsOf(actions []flows.Action, groups map[uint32]*flows.Group, out []netip.AddrPort, deep int) []netip.AddrPort {
	for _, a := range actions {
		switch a := a.(type) {
		case flows.CT:
			for _, e := range a.Exec {
				if n, ok := e.(flows.NAT); ok && n.Kind == flows.NATDestination {
					out = append(out, netip.AddrPortFrom(n.Min, n.PortMin))
				}
			}
		case flows.ToGroup:
			g := groups[a.Group]
			if g == nil || deep == 0 {
				continue
			}
			for _, b := range g.Buckets {
				out = backendsOf(b.Actions, groups, out, deep-1)
			}
		}
	}
	return out
}

// Standing says how a backend stands to a virtual address and port.
type Standing uint8

// The standings.
const (
	// Away: there is no such port, or it is no backend of it that serves.
	Away Standing = iota
	// Serving: it is given no new connections here, and serves those that it has.
	Serving
	// Used: it is given new connections.
	Used
)

// Standings say of each translation how its backend stands now; ports are those frontends that there
// are.
func (r Result) Standings(list []Translation) (standings map[Translation]Standing, ports map[Frontend]bool) {
	standings = make(map[Translation]Standing, len(list))
	asked := make(map[Frontend]bool, len(list))
	for _, t := range list {
		standings[t], asked[t.Frontend] = Away, true
	}
	ports = map[Frontend]bool{}
	for _, s := range r.Services {
		for _, p := range s.Ports {
			for _, a := range p.Addresses {
				front := Frontend{a, p.Protocol, p.Port}
				if !asked[front] {
					continue
				}
				ports[front] = true
				for _, b := range p.Backends {
					if _, ok := standings[Translation{front, b.Address}]; ok {
						standings[Translation{front, b.Address}] = b.standing()
					}
				}
			}
		}
	}
	return standings, ports
}

func (b Backend) standing() Standing {
	switch {
	case b.Used():
		return Used
	case b.Endpoint.Serving || b.Endpoint.Ready:
		return Serving
	}
	return Away
}
