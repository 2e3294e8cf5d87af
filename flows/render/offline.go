package render

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// Attachments derives a node's attachments from the Pods that are on it, for a
// render without the node: as ADD would have plugged them, port numbers included.
// Pods without addresses, finished ones and those on the host's network have none, nor
// has a Pod whose address or number is another's: Result.Conflicts names it.
func Attachments(s state.State) []state.Attachment {
	self, _ := s.Self()
	pods := slices.Clone(s.Pods)
	slices.SortFunc(pods, func(a, b state.Pod) int { return claims.Compare(claims.OfPod(a), claims.OfPod(b)) })
	taken := make(map[uint32]bool)
	held := make(map[netip.Addr]bool)
	var out []state.Attachment
	for _, p := range pods {
		if p.Node != s.Node || !plugged(&p) {
			continue
		}
		addresses := slices.Clone(p.Addresses) // in the order of Pod's status, of which the first is the node's
		slices.SortStableFunc(addresses, byFamily)
		port := OFPort(addresses[0], self.PodCIDRs)
		if taken[port] || slices.ContainsFunc(addresses, func(a netip.Addr) bool { return held[a] }) {
			continue
		}
		taken[port] = true
		for _, a := range addresses {
			held[a] = true
		}
		out = append(out, state.Attachment{
			PodNamespace: p.Namespace, PodName: p.Name, PodUID: p.UID,
			OFPort: port, MAC: MAC(addresses[0]).String(), Addresses: addresses, HostPorts: p.HostPorts,
			Created: p.Created,
		})
	}
	slices.SortFunc(out, func(a, b state.Attachment) int { return cmp.Compare(a.OFPort, b.OFPort) })
	return out
}
