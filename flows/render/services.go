package render

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/service"
)

// servedAs is what a Service has been given, whose groups' numbers depend on all.
type servedAs struct {
	service *service.Service
	numbers service.Numbers
	owned   *Owned
}

// serve resolves the Services, and makes what those need that are not what they were.
func (r *Renderer) serve(d *division) {
	d.resolved = r.services.Resolve(d.state)
	d.conflicts = append(d.conflicts, d.resolved.Conflicts...)
	before, next := r.served, r.spareServed[:0]
	made := make([]*Owned, 0, len(d.resolved.Services))
	for _, s := range d.resolved.Services {
		for len(before) > 0 && before[0].service != s && service.Compare(before[0].service, s) < 0 {
			before = before[1:]
		}
		is := servedAs{service: s, numbers: d.resolved.Numbers}
		if len(before) > 0 && before[0].service == s && s.SameNumbers(before[0].numbers, is.numbers) {
			is.owned = before[0].owned
		} else {
			f, g := s.Tables(is.numbers)
			is.owned = newOwned(flows.Owner{Kind: flows.OwnerService, Name: s.Name()}, f, g)
			if len(before) > 0 && before[0].service.Name() == s.Name() && before[0].owned.Alike(is.owned) {
				is.owned = before[0].owned
			}
		}
		next, made = append(next, is), append(made, is.owned)
	}
	clear(r.served)
	r.served, r.spareServed = next, r.served
	if !slices.IsSortedFunc(made, flows.CompareOwned) { // a namespace's name may begin with another's
		slices.SortFunc(made, flows.CompareOwned)
	}
	d.compiled = append(d.compiled, made)
}

// answers emits what brings answers back to what had its source translated: a refused client, and
// who reached itself by way of a Service.
func answers(e *emitter) {
	for _, six := range []bool{false, true} {
		m := families(flows.Match{})[0]
		unreachable, src := m.Proto(flows.ProtoICMP).Is(flows.ICMPType, flows.Uint(icmpUnreachable)), flows.IPv4Src
		if six {
			m = families(flows.Match{})[1]
			unreachable, src = m.Proto(flows.ProtoICMPv6).Is(flows.ICMPv6Type, flows.Uint(icmp6Unreachable)), flows.IPv6Src
		}
		hairpin := service.HairpinFor(six)
		for _, p := range []netip.Prefix{netip.PrefixFrom(hairpin, hairpin.BitLen()), service.RefusedFor(six)} {
			e.flow(flows.State, prioAnswer, flows.RuleAnswer, flows.Match{}.Dst(p),
				flows.CT{Zone: flows.ZoneSources, Recirculate: true, Table: flows.Answers, Exec: []flows.Action{flows.NAT{}}})
		}
		refused := flows.SetBits(flows.RegConnection, flows.ConnectionRefused, flows.ConnectionRefused)
		marked := func(m flows.Match, mark uint64) flows.Match {
			return m.Masked(flows.CTMark, flows.Uint(mark), flows.Uint(flows.CTMarkRefused))
		}
		// The host would take an error with a source of its own for a forged one.
		e.flow(flows.Answers, prioRelated, flows.RuleRefusal, marked(unreachable.Tracked(flows.CTRelated, flows.CTInvalid), flows.CTMarkRefused),
			flows.Set(src, flows.IP(hairpin)), refused, flows.Goto{Table: flows.Destination})
		e.flow(flows.Answers, prioReply, flows.RuleRefusal, marked(m.Tracked(flows.CTReply, flows.CTInvalid|flows.CTRelated), flows.CTMarkRefused),
			refused, flows.Goto{Table: flows.Destination})
		e.flow(flows.Answers, prioKnown, flows.RuleAnswer, marked(m.Tracked(flows.CTReply, flows.CTInvalid), 0), flows.Goto{Table: flows.Conntrack})
	}
	e.flow(flows.EgressAdmin, prioOwn, flows.RuleRefusal,
		flows.Match{}.Masked(flows.RegConnection, flows.Uint(flows.ConnectionRefused), flows.Uint(flows.ConnectionRefused)), flows.Goto{Table: flows.Output})
}

// hairpin emits how what came by a port goes back by it: with a source by which the answer finds the
// switch again. A port does not get back what it sent unless it is said.
func hairpin(e *emitter, port uint32, six []bool, mac net.HardwareAddr) {
	back := flows.Match{}.InPort(port).Is(flows.RegOutput, flows.Uint(uint64(port)))
	for _, six := range six {
		m := families(back)[0]
		if six {
			m = families(back)[1]
		}
		e.flow(flows.EgressNAT, prioMatch, flows.RuleHairpin,
			m.Masked(flows.RegConnection, flows.Uint(0), flows.Uint(flows.ConnectionReply)),
			flows.CT{Commit: true, Zone: flows.ZoneSources, Recirculate: true, Table: flows.Output,
				Exec: []flows.Action{flows.NAT{Kind: flows.NATSource, Min: service.HairpinFor(six)}}})
	}
	e.flow(flows.Output, prioForeign, flows.RuleHairpin, back,
		flows.Set(flows.EthSrc, flows.MAC(RouterMAC)), flows.Set(flows.EthDst, flows.MAC(mac)), flows.OutputTo{Port: flows.PortInPort})
}

// familiesOf are those of addresses: not IPv6, then IPv6.
func familiesOf(addresses []netip.Addr) []bool {
	var out []bool
	for _, a := range firstOfFamily(addresses) {
		out = append(out, a.Is6())
	}
	return out
}
