package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// ZoneLabel is the label of a Node that says its zone.
const ZoneLabel = "topology.kubernetes.io/zone"

// Result is what a node does for all Services.
type Result struct {
	// Services are in the order of their namespaces and names. What they point to is never
	// changed, and of two results of one Resolver what is alike is the same.
	Services []*Service
	// Numbers are those of their groups.
	Numbers Numbers
	// Conflicts are virtual addresses and ports that another Service has.
	Conflicts []claims.Conflict
}

// Service is a Service with its backends.
type Service struct {
	Object state.Service
	// Ports are those of the object, each once for each family that it has an address of, IPv4
	// first. Of two of one number and protocol there is the first.
	Ports []Port
	// Guards are its virtual addresses, without those that are another Service's too and are
	// guarded by that one: what none of the ports takes is refused.
	Guards []netip.Addr
	name   string
	// groups are the names of all ports' groups.
	groups []groupName
}

// Name is namespace/name.
func (s *Service) Name() string { return s.name }

// Compare is the order of Services: their namespaces', then their names'.
func Compare(a, b *Service) int { return compareServices(&a.Object, &b.Object) }

// Port is one port of a Service at its addresses of one family.
type Port struct {
	state.ServicePort
	IPv6 bool
	// Addresses are the virtual ones at which it is served: not those where the port is another
	// Service's.
	Addresses []netip.Addr
	// Backends are all that its EndpointSlices name, in the order of their addresses, each once.
	Backends []Backend
	// Topology says whether the backends' hints are used, and why not; empty if there are none
	// and none are asked for.
	Topology string
	// Affinity is the Service's.
	Affinity int32
}

// Used are the addresses and ports of the backends that connections are given to, in their order.
func (p Port) Used() []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range p.Backends {
		if b.Used() {
			out = append(out, b.Address)
		}
	}
	return out
}

// Frontend is a virtual address and port.
type Frontend struct {
	Address  netip.Addr
	Protocol state.Protocol
	Port     uint16
}

func (f Frontend) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.Address, f.Port), f.Protocol)
}

// Resolve says what the node s.Node does for the Services of s.
func Resolve(s state.State) Result { return new(Resolver).Resolve(s) }

// Resolver resolves one state after another, each as Resolve does, and does anew only what belongs to
// Services that have changed. The zero Resolver is ready to use, by one caller. States that it was
// given must not change afterwards.
type Resolver struct {
	// Hash is for the numbers of groups, SHA-256's if nil.
	Hash flows.Hash
	here place
	// objects are of the Services last given, in their order.
	services []state.Service
	objects  []*state.Service
	slices   slicesInOrder
	made     []made // in the order of the objects
	// spare is for the next made: a cluster's are many, and each change would leave them to the collector.
	spare []made
	// holders and numbers are of the objects and of the groups of made.
	holders holders
	numbers Numbers
}

// place is what of the node its answers depend on.
type place struct{ node, zone string }

// made is a Service as it was resolved last, and from what.
type made struct {
	object *state.Service
	slices []*state.EndpointSlice
	lost   []Frontend
	result *Service
}

// Resolve is the function Resolve, by way of what was resolved before.
func (r *Resolver) Resolve(s state.State) Result {
	here := place{node: s.Node}
	if n, ok := s.Self(); ok {
		here.zone = n.Labels[ZoneLabel]
	}
	before := r.made
	hash := r.Hash
	if hash == nil {
		hash = flows.HashName
	}
	list := r.slices.of(s.EndpointSlices)
	objects := r.objects
	if objects == nil || !flows.SameSlice(r.services, s.Services) {
		objects = servicesOf(s)
		if !slices.EqualFunc(before, objects, func(m made, o *state.Service) bool { return sameService(m.object, o) }) {
			r.holders = settle(objects)
		}
		r.services, r.objects = s.Services, objects
	}
	result := Result{Services: make([]*Service, 0, len(objects)), Conflicts: r.holders.conflicts()}
	next := r.spare[:0]
	regrouped := len(before) != len(objects)
	for _, o := range objects {
		m := made{object: o, lost: r.holders.lostBy(o)}
		m.slices, list = take(o, list)
		for len(before) > 0 && compareServices(before[0].object, o) < 0 {
			before = before[1:]
		}
		known := len(before) > 0 && compareServices(before[0].object, o) == 0
		if known && here == r.here && before[0].same(m) {
			m.result = before[0].result
		} else {
			m.result = resolve(m, here, hash)
			if known && reflect.DeepEqual(m.result, before[0].result) {
				m.result = before[0].result // what has changed means nothing here
			}
			regrouped = regrouped || !known || !slices.Equal(before[0].result.groups, m.result.groups)
		}
		next = append(next, m)
		result.Services = append(result.Services, m.result)
	}
	if regrouped {
		r.numbers = settleNumbers(result.Services)
	}
	result.Numbers = r.numbers
	clear(r.made)
	r.made, r.spare, r.here = next, r.made, here
	return result
}

// servicesOf are the state's Services in their order, each once.
func servicesOf(s state.State) []*state.Service {
	out := make([]*state.Service, len(s.Services))
	for i := range s.Services {
		out[i] = &s.Services[i]
	}
	slices.SortStableFunc(out, compareServices)
	return slices.CompactFunc(out, func(a, b *state.Service) bool { return compareServices(a, b) == 0 })
}

// slicesInOrder are EndpointSlices in the order of their Services, and then of their names: mostly it is the
// order that they had before.
type slicesInOrder struct {
	list  []state.EndpointSlice
	order []int
}

func (o *slicesInOrder) of(list []state.EndpointSlice) []*state.EndpointSlice {
	if !slices.EqualFunc(o.list, list, func(a, b state.EndpointSlice) bool { return compareSlices(&a, &b) == 0 }) {
		o.order = o.order[:0]
		for i := range list {
			o.order = append(o.order, i)
		}
		slices.SortStableFunc(o.order, func(a, b int) int { return compareSlices(&list[a], &list[b]) })
	}
	o.list = list
	out := make([]*state.EndpointSlice, len(list))
	for i, at := range o.order {
		out[i] = &list[at]
	}
	return out
}

func compareSlices(a, b *state.EndpointSlice) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
}

func compareServices(a, b *state.Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// take are the slices of the Service o at the head of the list, and what is behind them.
func take(o *state.Service, list []*state.EndpointSlice) (its, rest []*state.EndpointSlice) {
	compare := func(e *state.EndpointSlice) int {
		return cmp.Or(cmp.Compare(e.Namespace, o.Namespace), cmp.Compare(e.Service, o.Name))
	}
	for len(list) > 0 && compare(list[0]) < 0 {
		list = list[1:]
	}
	n := 0
	for n < len(list) && compare(list[n]) == 0 {
		n++
	}
	return list[:n:n], list[n:]
}

// same tells whether two are made from the same. The lists of objects that a source has not touched
// it gives out again, so few need to be looked into.
func (m made) same(o made) bool {
	return sameService(m.object, o.object) && slices.Equal(m.lost, o.lost) && slices.EqualFunc(m.slices, o.slices, sameSlice)
}

func sameService(a, b *state.Service) bool { return a == b || reflect.DeepEqual(a, b) }

func sameSlice(a, b *state.EndpointSlice) bool {
	if a == b {
		return true
	}
	return a.Namespace == b.Namespace && a.Service == b.Service && a.Name == b.Name &&
		slices.Equal(a.Ports, b.Ports) && (flows.SameSlice(a.Endpoints, b.Endpoints) || reflect.DeepEqual(a.Endpoints, b.Endpoints))
}

// resolve makes a Service's result.
func resolve(m made, here place, hash flows.Hash) *Service {
	out := &Service{Object: *m.object, name: m.object.Namespace + "/" + m.object.Name}
	for i, p := range m.object.Ports {
		if slices.ContainsFunc(m.object.Ports[:i], func(q state.ServicePort) bool { return q.Port == p.Port && q.Protocol == p.Protocol }) {
			continue
		}
		for _, six := range []bool{false, true} {
			if port, ok := resolvePort(m, p, six, here); ok {
				out.Ports = append(out.Ports, port)
				out.groups = append(out.groups, port.groupNames(out.Name(), len(port.Used()), hash)...)
			}
		}
	}
	for _, a := range m.object.ClusterIPs {
		if !slices.Contains(m.lost, Frontend{Address: a}) && !slices.Contains(out.Guards, a) {
			out.Guards = append(out.Guards, a)
		}
	}
	return out
}

// resolvePort makes a port's answer for a family; ok is false if the Service has no address of it.
func resolvePort(m made, p state.ServicePort, six bool, here place) (out Port, ok bool) {
	out = Port{ServicePort: p, IPv6: six, Affinity: m.object.Affinity}
	if p.Protocol.Number() == 0 {
		return out, false
	}
	for _, a := range m.object.ClusterIPs {
		if a.Is6() != six {
			continue
		}
		ok = true
		if !slices.Contains(m.lost, Frontend{a, p.Protocol, p.Port}) && !slices.Contains(out.Addresses, a) {
			out.Addresses = append(out.Addresses, a)
		}
	}
	if ok {
		out.Backends = gather(m, p, six)
		out.Topology = choose(m.object, out.Backends, here)
	}
	return out, ok
}
