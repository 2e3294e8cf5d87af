package render

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// podLosses are the conflicts of Pods, and what they were found from.
type podLosses struct {
	node    string
	nodes   []state.Node
	pods    []state.Pod
	offline bool
	found   []claims.Conflict
	known   bool
}

func (l podLosses) of(s state.State, offline bool) bool {
	return l.known && l.node == s.Node && l.offline == offline && flows.SameSlice(l.nodes, s.Nodes) && flows.SameSlice(l.pods, s.Pods)
}

// podConflicts adds the conflicts of Pods; most changes are about something else.
func (d *division) podConflicts(last *podLosses) {
	s := d.state
	// A cable that is there has the number that Open vSwitch gave.
	offline := !slices.ContainsFunc(s.Attachments, func(a state.Attachment) bool { return a.Port != "" })
	if !last.of(s, offline) {
		*last = podLosses{s.Node, s.Nodes, s.Pods, offline, d.losingPods(offline), true}
	}
	for _, c := range last.found {
		if !slices.Contains(d.conflicts, c) { // the attachments have not told it already
			d.conflicts = append(d.conflicts, c)
		}
	}
}

// losingPods names the Pods that lose an address or, on this node, a port number to
// another Pod, as far as one of the two is on this node. It is the objects that are held
// against each other: a Pod without an attachment here, on another node or offline (see
// Attachments), has nothing else by which it could be told. What is being deleted is not
// told any more.
func (d *division) losingPods(offline bool) (out []claims.Conflict) {
	s := d.state
	mine := map[netip.Addr]bool{}
	self, _ := s.Self()
	for i := range s.Pods {
		if p := &s.Pods[i]; p.Node == s.Node && plugged(p) {
			for _, a := range p.Addresses {
				mine[a] = true
			}
		}
	}
	if len(mine) == 0 {
		return nil
	}
	var addresses claims.Book[netip.Addr]
	var numbers claims.Book[uint32]
	var touched []state.Pod
	for i := range s.Pods {
		if !plugged(&s.Pods[i]) || !slices.ContainsFunc(s.Pods[i].Addresses, func(a netip.Addr) bool { return mine[a] }) {
			continue
		}
		p := s.Pods[i]
		touched = append(touched, p)
		for _, a := range p.Addresses {
			addresses.Claim(a, d.standing(p, a))
		}
		if p.Node == s.Node {
			numbers.Claim(OFPort(p.Addresses[0], self.PodCIDRs), claims.OfPod(p))
		}
	}
	slices.SortFunc(touched, func(a, b state.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name+"/"+a.UID, b.Namespace+"/"+b.Name+"/"+b.UID)
	})
	for _, p := range touched {
		lost := false
		for _, a := range p.Addresses {
			if mine[a] && !addresses.Holds(a, d.standing(p, a)) {
				out = append(out, podLost(p, claims.OnAddress, a.String(), addresses.Holder(a))...)
				lost = true
			}
		}
		if port := OFPort(p.Addresses[0], self.PodCIDRs); p.Node == s.Node && !lost && offline && !numbers.Holds(port, claims.OfPod(p)) {
			out = append(out, podLost(p, claims.OnPort, strconv.FormatUint(uint64(port), 10), numbers.Holder(port))...)
		}
	}
	return out
}

// plugged tells whether a Pod has a cable, as far as its object tells.
func plugged(p *state.Pod) bool {
	return p.Node != "" && !p.HostNetwork && !p.Finished && len(p.Addresses) > 0
}

// standing is a Pod's on an address. Whose node has the podCIDR comes first: that is
// where all nodes lead.
func (d *division) standing(p state.Pod, a netip.Addr) claims.Standing {
	s := claims.OfPod(p)
	s.Elsewhere = !slices.ContainsFunc(d.state.Nodes, func(n state.Node) bool {
		return n.Name == p.Node && slices.ContainsFunc(n.PodCIDRs, func(c netip.Prefix) bool {
			return c.Contains(a) && d.podCIDRs.Holds(c.Masked(), claims.OfNode(n))
		})
	})
	return s
}

// podLost is the conflict, if it is to be told.
func podLost(p state.Pod, on, key string, winner claims.Object) []claims.Conflict {
	c := claims.Conflict{On: on, Key: key, Loser: claims.OfPod(p).Of, Winner: winner}
	if p.Deleting || c.Loser == c.Winner {
		return nil
	}
	return []claims.Conflict{c}
}
