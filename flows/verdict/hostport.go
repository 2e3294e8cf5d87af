package verdict

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

// Led is a connection to a node's port that leads to a pod.
type Led struct {
	// Node is whose port it is, Port which.
	Node string
	Port state.HostPort
	// Pod is the pod's namespace/name, empty for a container that is no pod.
	Pod string
	// To is the pod's address and port: what the connection really goes to.
	To netip.AddrPort
}

// Lead says to whom a connection leads whose destination is an address and port of a node; ok is
// false if that is no host port. What another node has plugged in is known by its Pods alone. To
// 127.0.0.1 or ::1 it is opened by a node, and is its own.
func Lead(s state.State, c Connection) (led Led, ok bool) {
	n := nodeWith(s, c.Destination)
	if c.Destination.IsLoopback() {
		n = nil
		if find(s, c.Source).pod == nil {
			n = nodeWith(s, c.Source)
		}
	}
	if n == nil {
		return led, false
	}
	for _, w := range served(wantersOn(s, n.Name)) {
		if w.port.Protocol != c.Protocol || w.port.Port != c.Port || !w.port.Everywhere() && w.port.Address != c.Destination {
			continue
		}
		i := slices.IndexFunc(w.addresses, func(a netip.Addr) bool { return a.Is4() == c.Destination.Is4() })
		if i >= 0 && w.port.Serves(w.addresses[i]) {
			return Led{n.Name, w.port, w.pod, netip.AddrPortFrom(w.addresses[i], w.port.PodPort)}, true
		}
	}
	return led, false
}

// nodeWith is the node that has an address: one that stays comes before one that is being deleted,
// one that is ready before others, then the newer, then the first by name.
func nodeWith(s state.State, address netip.Addr) *state.Node {
	var out *state.Node
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if slices.Contains(addressesOf(s, n.Name), address) && (out == nil || nodeBefore(*n, *out)) {
			out = n
		}
	}
	return out
}

func nodeBefore(a, b state.Node) bool {
	switch {
	case a.Deleting != b.Deleting:
		return b.Deleting
	case a.Ready != b.Ready:
		return a.Ready
	case a.Created != b.Created:
		return a.Created > b.Created
	}
	return a.Name < b.Name
}

// wanter wants a port of a node's.
type wanter struct {
	port state.HostPort
	// leaving is its pod if it is on its way out. created and name say which of two is the older.
	leaving   bool
	created   int64
	name, pod string
	addresses []netip.Addr
}

// wantersOn are those of a node.
func wantersOn(s state.State, node string) []wanter {
	var out []wanter
	if node == s.Node {
		for _, a := range s.Attachments {
			w := wanter{created: a.Created, name: a.Network + "/" + a.ContainerID + "/" + a.IfName}
			if a.PodName != "" {
				w.pod = a.PodNamespace + "/" + a.PodName
			}
			for i := range s.Pods {
				p := s.Pods[i]
				w.leaving = w.leaving || a.PodName != "" && a.Of(p) && (p.Deleting || p.Finished)
			}
			for _, address := range a.Addresses {
				if h := holder(s, address); h.Network == a.Network && h.ContainerID == a.ContainerID && h.IfName == a.IfName {
					w.addresses = append(w.addresses, address)
				}
			}
			out = append(out, w.each(a.HostPorts)...)
		}
		return out
	}
	for _, p := range s.Pods {
		if p.Node == node && !p.HostNetwork && !p.Finished && len(p.Addresses) > 0 {
			name := p.Namespace + "/" + p.Name
			out = append(out, wanter{leaving: p.Deleting, created: p.Created, name: name, pod: name, addresses: p.Addresses}.each(p.HostPorts)...)
		}
	}
	return out
}

func (w wanter) each(ports []state.HostPort) []wanter {
	var out []wanter
	for _, h := range ports {
		w.port = h
		out = append(out, w)
	}
	return out
}

// served are those that have what they want. Of two for one of which a packet to the other could be
// meant, who lives comes before who is on its way out, then the older, then the first by name.
func served(all []wanter) []wanter {
	slices.SortFunc(all, func(a, b wanter) int {
		first := func(yes bool) int {
			if yes {
				return 1
			}
			return 0
		}
		return cmp.Or(first(a.leaving)-first(b.leaving), cmp.Compare(a.created, b.created), strings.Compare(a.name, b.name), state.CompareHostPorts(a.port, b.port))
	})
	var out []wanter
	for _, w := range all {
		if !slices.ContainsFunc(out, func(o wanter) bool { return o.port.Overlaps(w.port) }) {
			out = append(out, w)
		}
	}
	return out
}
