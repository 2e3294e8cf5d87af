package render

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// settle enters all claims before anything is emitted.
func (d *division) settle() {
	for _, n := range d.state.Nodes {
		for _, p := range n.PodCIDRs {
			d.podCIDRs.Claim(p.Masked(), claims.OfNode(n))
		}
		for _, a := range n.Addresses {
			d.nodeAddresses.Claim(a, claims.OfNode(n))
		}
	}
	for _, a := range d.state.Attachments {
		d.ports.Claim(a.OFPort, claims.OfAttachment(a))
		for _, addr := range a.Addresses {
			d.addresses.Claim(addr, claims.OfAttachment(a))
		}
	}
}

// peers are the other nodes, by name.
func (d *division) peers() []state.Node {
	var out []state.Node
	for _, n := range d.state.Nodes {
		if n.Name != d.state.Node {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b state.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// podCIDRsOf are the podCIDRs that the node names and has.
func (d *division) podCIDRsOf(n state.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range n.PodCIDRs {
		p = p.Masked()
		switch {
		case slices.Contains(out, p):
		case d.podCIDRs.Holds(p, claims.OfNode(n)):
			out = append(out, p)
		default:
			d.lost(claims.OnPodCIDR, p, claims.OfNode(n), d.podCIDRs.Holder(p))
		}
	}
	return out
}

// attachments are this node's that hold their port number, in a stable order.
func (d *division) attachments() []state.Attachment {
	all := slices.Clone(d.state.Attachments)
	slices.SortFunc(all, func(a, b state.Attachment) int {
		return cmp.Or(cmp.Compare(a.OFPort, b.OFPort), claims.Compare(claims.OfAttachment(a), claims.OfAttachment(b)))
	})
	var out []state.Attachment
	for _, a := range all {
		switch s := claims.OfAttachment(a); {
		case a.OFPort == 0: // not told yet
		case d.ports.Holds(a.OFPort, s):
			out = append(out, a)
		default:
			d.lost(claims.OnPort, a.OFPort, s, d.ports.Holder(a.OFPort))
		}
	}
	return out
}

// lost notes that the key is another's.
func (d *division) lost(on string, key any, loser claims.Standing, winner claims.Object) {
	d.conflicts = append(d.conflicts, claims.Conflict{On: on, Key: fmt.Sprint(key), Loser: loser.Of, Winner: winner})
}

// AttachmentName names an attachment's owner: the pod if there is one, since that
// is known offline too, else the container.
func AttachmentName(a state.Attachment) string {
	return claims.OfAttachment(a).Of.String()
}
