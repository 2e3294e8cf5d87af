package service

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// Priorities in the table service: a port before the address that it is of.
const (
	prioAddress = 50
	prioPort    = 100
)

// The range of sources by which the host knows what it must refuse. Each client has another, since a
// kernel limits its errors by the destination. The IPv6 ones spell "sluice" behind fd: a range of
// unique local addresses (RFC 4193) that nobody draws, and no link-local one, which a socket cannot
// answer without being told the link.
var (
	Refused     = netip.MustParsePrefix("169.254.64.0/18")
	RefusedIPv6 = netip.MustParsePrefix("fd73:6c75:6963:6501::/112")
)

// Hairpin is the source of what a pod, or the host, sends to itself by way of a Service: so that the
// answer comes back to the switch. The IPv4 one is the virtual router's.
var (
	Hairpin     = netip.AddrFrom4([4]byte{169, 254, 0, 1})
	HairpinIPv6 = netip.MustParseAddr("fd73:6c75:6963:6500::1")
)

// HairpinFor and RefusedFor are those of a family.
func HairpinFor(six bool) netip.Addr {
	if six {
		return HairpinIPv6
	}
	return Hairpin
}

// RefusedFor is the range of an address's family.
func RefusedFor(six bool) netip.Prefix {
	if six {
		return RefusedIPv6
	}
	return Refused
}

// Tables are what the Service needs of the switch: flows in the order of flows.Compare, and groups in
// that of their numbers.
func (s *Service) Tables(numbers Numbers) ([]flows.Flow, []flows.Group) {
	owner := flows.Owner{Kind: flows.OwnerService, Name: s.Name()}
	var out []flows.Flow
	var groups []flows.Group
	for _, a := range s.Guards {
		out = append(out, flows.Flow{
			Table: flows.Service, Priority: prioAddress, Cookie: owner.Cookie(flows.RuleRefuse),
			Match: flows.Match{}.Dst(netip.PrefixFrom(a, a.BitLen())), Actions: Refuse(a.Is6()),
		})
	}
	names := s.groups
	for _, p := range s.Ports {
		used := p.Used()
		if len(used) == 0 || len(p.Addresses) == 0 {
			continue
		}
		own := make([]uint32, 1+leaves(len(used)))
		for i := range own {
			own[i] = numbers.of(names[i])
		}
		names = names[len(own):]
		groups = append(groups, p.groups(used, own)...)
		port, _ := flows.DstPort(p.Protocol.Number())
		for _, a := range p.Addresses {
			f := flows.Flow{
				Table: flows.Service, Priority: prioPort, Cookie: owner.Cookie(flows.RuleServe),
				Match:   flows.Match{}.Dst(netip.PrefixFrom(a, a.BitLen())).Proto(p.Protocol.Number()).Is(port, flows.Uint(uint64(p.Port))),
				Actions: []flows.Action{flows.ToGroup{Group: own[0]}},
			}
			if p.Affinity > 0 {
				out = append(out, p.affinity(owner, f)...)
				f.Actions = []flows.Action{flows.Resubmit{Table: flows.Affinity}, flows.Goto{Table: flows.Backends}}
			}
			out = append(out, f)
		}
	}
	flows.Sort(out)
	slices.SortFunc(groups, flows.CompareGroups)
	return out, groups
}

// Refuse are the actions on what nobody serves: it goes to the host with a source by which the host
// knows that it must refuse it. Nothing is remembered of it where connections to backends are.
func Refuse(six bool) []flows.Action {
	from := RefusedFor(six)
	return []flows.Action{
		flows.Set(flows.RegOutput, flows.Uint(uint64(flows.PortGateway))),
		flows.CT{
			Commit: true, Recirculate: true, Table: flows.Output, Zone: flows.ZoneSources,
			Exec: []flows.Action{
				flows.NAT{Kind: flows.NATSource, Min: from.Addr(), Max: last(from), Persistent: true},
				flows.SetBits(flows.CTMark, flows.CTMarkRefused, flows.CTMarkRefused),
			},
		},
	}
}

// last is a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
