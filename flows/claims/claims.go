// Package claims settles who has what several want: one podCIDR named by two
// Nodes, one address by two Pods. All claims are kept, one wins by a fixed rule
// that every node computes alike, and when it goes the next one is there.
package claims

import (
	"cmp"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// Standing orders the claims on one key: the lowest has it. The fields decide in
// their order.
type Standing struct {
	// Elsewhere: an address of another node's range comes after one of its own.
	Elsewhere bool
	// Leaving: what is being deleted or has finished comes after what lives.
	Leaving bool
	// Nowhere: a Node without an address, of which no kubelet has reported, comes after one to which something leads.
	Nowhere bool
	// Unready: a Node that is not Ready comes after one that is.
	Unready bool
	// Seniority is a time in seconds or nanoseconds, negated where the newer wins.
	Seniority int64
	// Name decides between those that are alike otherwise.
	Name string
	// Of is who claims. It decides nothing.
	Of Object
}

// Compare is below 0 where a comes before b.
func Compare(a, b Standing) int {
	return cmp.Or(
		compareBool(a.Elsewhere, b.Elsewhere),
		compareBool(a.Leaving, b.Leaving),
		compareBool(a.Nowhere, b.Nowhere),
		compareBool(a.Unready, b.Unready),
		cmp.Compare(a.Seniority, b.Seniority),
		cmp.Compare(a.Name, b.Name),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// OfNode is a Node's standing: the Ready before the others, then the newer: a replacement wins over
// its lingering predecessor. One without an address is last: any Node is not Ready while its agent is rolled out.
func OfNode(n state.Node) Standing {
	return Standing{Leaving: n.Deleting, Nowhere: len(n.Addresses) == 0, Unready: !n.Ready, Seniority: -n.Created, Name: n.Name, Of: Object{Kind: KindNode, Name: n.Name, UID: n.UID}}
}

// OfAttachment is a cable's standing: the newest sandbox of a pod is the pod, and the newest holder of
// an address has it.
func OfAttachment(a state.Attachment) Standing {
	return Standing{Seniority: -a.Created, Name: a.Network + "/" + a.ContainerID + "/" + a.IfName, Of: objectOf(a)}
}

// OfHostPort is a cable's standing where it wants a port of the node's; leaving tells whether its
// pod is on its way out. The older comes first: clients know it there.
func OfHostPort(a state.Attachment, leaving bool) Standing {
	s := OfAttachment(a)
	s.Leaving, s.Seniority = leaving, a.Created
	return s
}

// OfPod is a Pod's standing: a living pod before a finished one, then the newer.
func OfPod(p state.Pod) Standing {
	return Standing{
		Leaving: p.Finished || p.Deleting, Seniority: -p.Created, Name: p.Namespace + "/" + p.Name,
		Of: Object{Kind: KindPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
}

// OfService is a Service's standing: the older has a virtual address, so that no newcomer takes it
// over.
func OfService(s state.Service) Standing {
	return Standing{
		Leaving: s.Deleting, Seniority: s.Created, Name: s.Namespace + "/" + s.Name,
		Of: Object{Kind: KindService, Namespace: s.Namespace, Name: s.Name, UID: s.UID},
	}
}

// Book holds all claims on keys of one kind. The zero Book is ready to use.
type Book[K comparable] struct {
	claims map[K][]Standing
}

// Claim enters a claim.
func (b *Book[K]) Claim(key K, s Standing) {
	if b.claims == nil {
		b.claims = make(map[K][]Standing)
	}
	list := b.claims[key]
	i, _ := slices.BinarySearchFunc(list, s, Compare)
	b.claims[key] = slices.Insert(list, i, s)
}

// Holds tells whether the claim is the one that wins.
func (b *Book[K]) Holds(key K, s Standing) bool {
	list := b.claims[key]
	return len(list) > 0 && list[0] == s
}

// Holder is the winner, the zero Object if nobody claims the key.
func (b *Book[K]) Holder(key K) Object {
	if list := b.claims[key]; len(list) > 0 {
		return list[0].Of
	}
	return Object{}
}
