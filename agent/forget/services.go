package forget

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/conntrack"
)

// mostWaiting is how many connections that are served yet are waited for. What is beyond is
// forgotten: sockets go to another backend.
const mostWaiting = 1000

// mostComing is how many host ports are looked after that come at the same time: that many come when
// an agent starts.
const mostComing = 1000

// Gone is what is to be forgotten when the switch holds now in the stead of was; services are those
// that now is of. Of a port that there is no more, all connections are; so are those that went to a node's own
// port before it led to a pod.
func Gone(was, now []*render.Owned, services service.Result) []conntrack.Match {
	before, after := translations(was), translations(now)
	gone, come := without(before, after), without(after, before)
	if len(gone)+len(come) == 0 {
		return nil
	}
	_, ports := services.Standings(append(slices.Clip(gone), come...))
	come = slices.DeleteFunc(come, func(t service.Translation) bool { return ports[t.Frontend] })
	var out []conntrack.Match
	for _, t := range append(gone, come[:min(len(come), mostComing)]...) {
		if !ports[t.Frontend] {
			t.Backend = netip.AddrPort{}
		}
		out = append(out, match(t))
	}
	slices.SortFunc(out, func(a, b conntrack.Match) int {
		return cmp.Or(a.Original.Dst.Compare(b.Original.Dst), a.Reply.Src.Compare(b.Reply.Src))
	})
	return slices.Compact(out)
}

// without are those of a that are not in b.
func without(a, b map[service.Translation]bool) (out []service.Translation) {
	for t := range a {
		if !b[t] {
			out = append(out, t)
		}
	}
	return out
}

// translations are those of Services and of host ports.
func translations(set []*render.Owned) map[service.Translation]bool {
	var out map[service.Translation]bool
	for _, o := range set {
		if o.Owner.Kind != flows.OwnerService && o.Owner.Kind != flows.OwnerPod && o.Owner != (flows.Owner{}) {
			continue
		}
		found := service.Translations(o.Flows, o.Groups)
		if out == nil {
			out = found
			continue
		}
		for t := range found {
			out[t] = true
		}
	}
	return out
}

// match is what conntrack knows of a translation: without a backend, of all of the port's.
func match(t service.Translation) conntrack.Match {
	return conntrack.Match{
		Zone: flows.ZonePods, Protocol: conntrack.UDP,
		Original: conntrack.Tuple{Dst: netip.AddrPortFrom(t.Address, t.Port)}, Reply: conntrack.Tuple{Src: t.Backend},
	}
}

func translation(m conntrack.Match) service.Translation {
	return service.Translation{
		Frontend: service.Frontend{Address: m.Original.Dst.Addr(), Protocol: state.UDP, Port: m.Original.Dst.Port()}, Backend: m.Reply.Src,
	}
}

// Verdicts judges what is owed by Services as they are: a backend that is used again is not forgotten,
// and one that serves what it has, because it is terminating, is waited for.
func Verdicts(list []conntrack.Match, services service.Result) map[conntrack.Match]Verdict {
	var asked []service.Translation
	for _, m := range list {
		asked = append(asked, translation(m))
	}
	standings, _ := services.Standings(asked)
	waiting := 0
	out := make(map[conntrack.Match]Verdict, len(list))
	for _, m := range list {
		if m.Zone == HostZone {
			out[m] = Keep
			continue
		}
		switch standings[translation(m)] {
		case service.Used:
			out[m] = Never
		case service.Serving:
			if waiting++; waiting <= mostWaiting {
				out[m] = Wait
			}
		case service.Away:
			out[m] = Due
		}
	}
	return out
}
