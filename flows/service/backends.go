package service

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// Backend is one of those that serve a port.
type Backend struct {
	Address netip.AddrPort
	// Endpoint is as its EndpointSlice has it; the best, if several have the address.
	Endpoint state.Endpoint
	Reason   Reason
}

// Used tells whether connections are given to it.
func (b Backend) Used() bool { return b.Reason <= InsteadOfReady }

// Reason is why a backend is used, or is not.
type Reason uint8

// The reasons; the first two are those of backends that are used.
const (
	Ready Reason = iota
	// InsteadOfReady: it is terminating and serves still, and none is ready.
	InsteadOfReady
	NotReady
	Terminating
	// Elsewhere: clients are served by backends of their own node alone, and it is on another.
	Elsewhere
	// NotHinted: the hints of all backends say whom to use from here, and it is not among them.
	NotHinted
)

var reasonWords = []string{
	Ready:          "ready",
	InsteadOfReady: "terminating, used because none is ready",
	NotReady:       "not ready",
	Terminating:    "terminating",
	Elsewhere:      "on another node (internalTrafficPolicy: Local)",
	NotHinted:      "hinted for elsewhere",
}

func (r Reason) String() string { return reasonWords[r] }

// gather finds a port's backends: of the slices' endpoints of the family, at the slice's port of the
// same name and protocol. While an endpoint moves from one slice to another it is in both.
func gather(m made, p state.ServicePort, six bool) []Backend {
	var out []Backend
	for _, s := range m.slices {
		i := slices.IndexFunc(s.Ports, func(q state.EndpointPort) bool { return q.Name == p.Name && q.Protocol == p.Protocol })
		if i < 0 || s.Ports[i].Port == 0 {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Address.IsValid() && e.Address.Is6() == six {
				out = append(out, Backend{Address: netip.AddrPortFrom(e.Address, s.Ports[i].Port), Endpoint: e})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Backend) int {
		return cmp.Or(a.Address.Compare(b.Address), a.rank()-b.rank())
	})
	return slices.CompactFunc(out, func(a, b Backend) bool { return a.Address == b.Address })
}

// rank is lower where an endpoint is fitter to serve.
func (b Backend) rank() int {
	rank := 0
	for i, bad := range []bool{b.Endpoint.Terminating, !b.Endpoint.Serving, !b.Endpoint.Ready} {
		if bad {
			rank += 1 << i
		}
	}
	return rank
}

// choose gives each backend its reason, and says what became of the hints. The rules are those of the
// API (Service.spec.internalTrafficPolicy, EndpointConditions, EndpointHints): ready ones; if there is
// none, those that are terminating and serve still.
func choose(o *state.Service, all []Backend, here place) (topology string) {
	ready := func(b Backend) bool { return b.Endpoint.Ready || o.PublishNotReady }
	fits := func(Backend) bool { return true }
	otherwise := NotHinted
	if o.InternalLocal {
		otherwise = Elsewhere
		fits = func(b Backend) bool { return here.node != "" && b.Endpoint.Node == here.node }
	} else {
		fits, topology = hinted(o, all, ready, here)
	}
	anyReady := slices.ContainsFunc(all, func(b Backend) bool { return ready(b) && fits(b) })
	for i := range all {
		b := &all[i]
		local := !o.InternalLocal || fits(*b)
		switch serves := b.Endpoint.Serving && b.Endpoint.Terminating; {
		case !local:
			b.Reason = Elsewhere
		case ready(*b) && fits(*b):
			b.Reason = Ready
		case ready(*b):
			b.Reason = otherwise
		case serves && !anyReady:
			b.Reason = InsteadOfReady
		case b.Endpoint.Terminating:
			b.Reason = Terminating
		default:
			b.Reason = NotReady
		}
	}
	return topology
}

// hinted says which backends the hints allow here, and in words whether they are used. They are used
// only if every ready backend has one and one of these is for here: first those for nodes, then
// those for zones.
func hinted(o *state.Service, all []Backend, ready func(Backend) bool, here place) (fits func(Backend) bool, words string) {
	everyone := func(Backend) bool { return true }
	any, node, zone := false, newHints("node", here.node), newHints("zone", here.zone)
	for _, b := range all {
		if ready(b) {
			node.add(b.Endpoint.ForNodes)
			zone.add(b.Endpoint.ForZones)
			any = true
		}
	}
	switch {
	case !any || !node.some && !zone.some:
		if o.TrafficDistribution == "" {
			return everyone, ""
		}
		return everyone, "hints are not used: no ready backend has any"
	case node.use():
		return func(b Backend) bool { return slices.Contains(b.Endpoint.ForNodes, here.node) }, node.words()
	case zone.use():
		return func(b Backend) bool { return slices.Contains(b.Endpoint.ForZones, here.zone) }, zone.words()
	case zone.some:
		return everyone, zone.words()
	}
	return everyone, node.words()
}

// hints are those of one kind.
type hints struct {
	kind, here string
	// every backend has one, some has, one is for here.
	every, some, one bool
}

func newHints(kind, here string) hints { return hints{kind: kind, here: here, every: true} }

func (h *hints) add(list []string) {
	h.every = h.every && len(list) > 0
	h.some = h.some || len(list) > 0
	h.one = h.one || h.here != "" && slices.Contains(list, h.here)
}

func (h hints) use() bool { return h.every && h.one }

func (h hints) words() string {
	switch {
	case h.use():
		return "hints for " + h.kind + " " + h.here + " are used"
	case h.here == "":
		return "hints are not used: this node has no " + h.kind
	case !h.every:
		return "hints are not used: not every ready backend has one for a " + h.kind
	}
	return "hints are not used: no ready backend is for " + h.kind + " " + h.here
}
