package render

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// settle enters all claims before anything is emitted.
func (r *renderer) settle() {
	for _, n := range r.state.Nodes {
		for _, p := range n.PodCIDRs {
			r.podCIDRs.Claim(p.Masked(), claims.OfNode(n))
		}
	}
	for _, a := range r.state.Attachments {
		r.ports.Claim(a.OFPort, claims.OfAttachment(a))
		for _, addr := range a.Addresses {
			r.addresses.Claim(addr, claims.OfAttachment(a))
		}
	}
}

// self is this node's own object.
func (r *renderer) self() (state.Node, bool) { return r.state.Self() }

// peers are the other nodes, by name.
func (r *renderer) peers() []state.Node {
	var out []state.Node
	for _, n := range r.state.Nodes {
		if n.Name != r.state.Node {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b state.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// podCIDRsOf are the podCIDRs that the node names and has.
func (r *renderer) podCIDRsOf(n state.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range n.PodCIDRs {
		p = p.Masked()
		switch {
		case slices.Contains(out, p):
		case r.podCIDRs.Holds(p, claims.OfNode(n)):
			out = append(out, p)
		default:
			r.conflicts = append(r.conflicts, "podCIDR "+p.String()+": node "+n.Name+" loses it to node "+r.podCIDRs.Holder(p))
		}
	}
	return out
}

// attachments are this node's that hold their port number, in a stable order.
func (r *renderer) attachments() []state.Attachment {
	var out []state.Attachment
	for _, a := range r.state.Attachments {
		if a.OFPort != 0 && r.ports.Holds(a.OFPort, claims.OfAttachment(a)) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b state.Attachment) int { return cmp.Compare(a.OFPort, b.OFPort) })
	return out
}

// AttachmentName names an attachment's owner: the pod if there is one, since that
// is known offline too, else the container.
func AttachmentName(a state.Attachment) string {
	if a.PodName != "" {
		return a.PodNamespace + "/" + a.PodName
	}
	return a.Network + "/" + a.ContainerID + "/" + a.IfName
}

// TunnelAddress is where the tunnel to a node ends: its first address of the
// family in which this node's own tunnels begin. Invalid if it has none.
func TunnelAddress(n state.Node, s state.State) netip.Addr {
	local := s.Facts.TunnelAddress
	if self, ok := s.Self(); ok && !local.IsValid() && len(self.Addresses) > 0 {
		local = self.Addresses[0]
	}
	for _, a := range n.Addresses {
		if !local.IsValid() || a.Is4() == local.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
