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
	out := map[Translation]bool{}
	eachGiver(list, groups, func(t Translation, _ Giver) {
		if t.Protocol == state.UDP {
			out[t] = true
		}
	})
	return out
}

// Giver is where a switch gives connections to a backend, and counts them: a bucket of a group, or a
// flow of the table backends.
type Giver struct {
	Group, Bucket uint32
	// Flow is the flow as it is written; empty for a bucket.
	Flow string
}

// Givers are those by which the Service's tables give connections to each backend.
func (s *Service) Givers(numbers Numbers) map[Translation][]Giver {
	out := map[Translation][]Giver{}
	list, groups := s.Tables(numbers)
	eachGiver(list, groups, func(t Translation, g Giver) { out[t] = append(out[t], g) })
	return out
}

// eachGiver visits what translates connections to virtual addresses.
func eachGiver(list []flows.Flow, groups []flows.Group, visit func(Translation, Giver)) {
	byID := make(map[uint32]*flows.Group, len(groups))
	for i := range groups {
		byID[groups[i].ID] = &groups[i]
	}
	for _, f := range list {
		front, ok := frontend(f)
		if !ok {
			continue
		}
		in := Giver{}
		if f.Table == flows.Backends {
			in.Flow = f.String()
		}
		walkGroups(f.Actions, in, byID, nestedMost, func(backend netip.AddrPort, g Giver) { visit(Translation{front, backend}, g) })
	}
}

// nestedMost is how deep groups are looked into: a root and its leaves.
const nestedMost = 4

var frontendPorts = map[flows.Field]state.Protocol{flows.TCPDst: state.TCP, flows.UDPDst: state.UDP, flows.SCTPDst: state.SCTP}

// frontend is the virtual address and port that a flow of the table service, or backends, is of.
func frontend(f flows.Flow) (front Frontend, ok bool) {
	if f.Table != flows.Service && f.Table != flows.Backends {
		return front, false
	}
	for _, t := range f.Match {
		switch {
		case t.Mask != t.Field.Ones():
		case t.Field == flows.IPv4Dst:
			front.Address = netip.AddrFrom4([4]byte(t.Value[12:]))
		case t.Field == flows.IPv6Dst:
			front.Address = netip.AddrFrom16(t.Value)
		case frontendPorts[t.Field] != "":
			front.Protocol, front.Port = frontendPorts[t.Field], uint16(t.Value.Uint64())
		}
	}
	return front, front.Address.IsValid() && front.Port != 0
}

// walkGroups visits the backends that actions translate to, themselves or by way of groups. In is
// what the actions are in.
func walkGroups(actions []flows.Action, in Giver, groups map[uint32]*flows.Group, deep int, visit func(netip.AddrPort, Giver)) {
	for _, a := range actions {
		switch a := a.(type) {
		case flows.CT:
			for _, e := range a.Exec {
				if n, ok := e.(flows.NAT); ok && n.Kind == flows.NATDestination {
					visit(netip.AddrPortFrom(n.Min, n.PortMin), in)
				}
			}
		case flows.ToGroup:
			g := groups[a.Group]
			if g == nil || deep == 0 {
				continue
			}
			for _, b := range g.Buckets {
				walkGroups(b.Actions, Giver{Group: g.ID, Bucket: b.ID}, groups, deep-1, visit)
			}
		}
	}
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
