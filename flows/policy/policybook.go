package policy

import (
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// policyBook are the cluster's policies, kept from one compilation for the next: a policy that is what it was keeps
// its pointer, and a namespace of which none has changed its list.
type policyBook struct {
	list        []state.NetworkPolicy
	byNamespace map[string][]*state.NetworkPolicy // in the order of their names
}

func (b *policyBook) update(list []state.NetworkPolicy) {
	if b.byNamespace != nil && flows.SameSlice(b.list, list) {
		return
	}
	next := map[string][]*state.NetworkPolicy{}
	for i := range list {
		p := &list[i]
		next[p.Namespace] = append(next[p.Namespace], p)
	}
	for namespace, list := range next {
		slices.SortStableFunc(list, func(a, b *state.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
		next[namespace] = kept(b.byNamespace[namespace], list)
	}
	b.list, b.byNamespace = list, next
}

// kept is a list with the pointers of the one before it where they lead to the same.
func kept(before, list []*state.NetworkPolicy) []*state.NetworkPolicy {
	last := before
	for i, p := range list {
		for len(last) > 0 && last[0].Name < p.Name {
			last = last[1:]
		}
		if len(last) > 0 && samePolicy(last[0], p) {
			list[i], last = last[0], last[1:]
			continue
		}
		own := *p // p would keep the whole list that it is in
		list[i] = &own
	}
	if slices.Equal(before, list) {
		return before
	}
	return list
}
