package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// attachedPeer is the pod of an attachment, with the addresses that it was plugged in with.
type attachedPeer struct {
	pod  state.Pod
	held []netip.Addr
	set  *labelSet
}

func (p *attachedPeer) is(pod *state.Pod, held []netip.Addr) bool {
	return sameMapOnly(p.pod.Labels, pod.Labels) && flows.SameSlice(p.pod.Ports, pod.Ports) && slices.Equal(p.held, held)
}

// attachedAddresses are those that an attachment has: the newest that names it.
func attachedAddresses(s state.State) (claimed claims.Book[netip.Addr], all map[netip.Addr]bool) {
	all = map[netip.Addr]bool{}
	for _, a := range s.Attachments {
		for _, addr := range a.Addresses {
			claimed.Claim(addr, claims.OfAttachment(a))
			all[addr] = true
		}
	}
	return claimed, all
}

// findAttached puts the attachments' pods in the place of those of the last compilation. It returns the
// names of those that differ.
func (c *compiler) findAttached(claimed claims.Book[netip.Addr]) map[podName]bool {
	m := c.memo
	before := m.attached
	m.attached = make(map[podName][]*attachedPeer, len(before))
	for _, a := range c.state.Attachments {
		pod, ok := m.book.of(a, c.state.Node)
		if !ok || pod.Finished {
			continue
		}
		name, held := nameOfPod(&pod), a.Addresses
		lost := func(addr netip.Addr) bool { return !claimed.Holds(addr, claims.OfAttachment(a)) }
		if slices.ContainsFunc(held, lost) {
			held = slices.DeleteFunc(slices.Clone(held), lost)
		}
		list := m.attached[name]
		if old := before[name]; len(list) < len(old) && old[len(list)].is(&pod, held) {
			m.attached[name] = append(list, old[len(list)])
			continue
		}
		p := &attachedPeer{pod, held, m.sets.of(&pod)}
		m.sets.count(p.set, 1)
		m.attached[name] = append(list, p)
	}
	changed := map[podName]bool{}
	for name, list := range before {
		if now := m.attached[name]; !slices.Equal(list, now) {
			changed[name] = true
			for _, p := range list {
				if !slices.Contains(now, p) {
					m.sets.count(p.set, -1)
					m.sets.release(p.set)
				}
			}
		}
	}
	for name, list := range m.attached {
		if !slices.Equal(list, before[name]) {
			changed[name] = true
		}
	}
	return changed
}

// updateAddresses makes anew what leads from the addresses of the named pods, and of those with one of the
// label sets, to their label sets.
func (c *compiler) updateAddresses(names map[podName]bool, renumbered map[*labelSet]bool) {
	m := c.memo
	if len(renumbered) > 0 {
		for name, list := range m.book.byName {
			if slices.ContainsFunc(list, func(e *entry) bool { return renumbered[e.set] }) {
				names[name] = true
			}
		}
		for name, list := range m.attached {
			if slices.ContainsFunc(list, func(p *attachedPeer) bool { return renumbered[p.set] }) {
				names[name] = true
			}
		}
	}
	var changed []*flows.Owned
	for name := range names {
		e := newEmitter(flows.Owner{Kind: flows.OwnerIdentity, Name: name.namespace + "/" + name.name})
		for _, p := range m.attached[name] {
			p.set.lead(e, p.held)
		}
		for _, p := range m.book.byName[name] {
			p.set.lead(e, p.held)
		}
		now := &flows.Owned{Owner: e.owner, Flows: e.sorted()}
		at, there := find(m.addresses, now)
		if there && !m.addresses[at].Alike(now) || !there && len(now.Flows) > 0 {
			changed = append(changed, now)
		}
	}
	m.addresses = replaced(m.addresses, changed)
}

// lead leads from addresses to the label set, if blocks are about it.
func (s *labelSet) lead(e *emitter, addresses []netip.Addr) {
	if s == nil || s.number == 0 {
		return
	}
	for _, a := range addresses {
		e.flow(flows.Addresses, prioAddress, flows.RuleAddress, fromPrefix(netip.PrefixFrom(a, a.BitLen())),
			flows.Set(flows.RegLabels, flows.Uint(uint64(s.number))), flows.Resubmit{Table: flows.Identities})
	}
}

// identityFlow leads from a label set to its identity.
func (c *compiler) identityFlow(s *labelSet) *flows.Owned {
	identity, namespace := c.memo.sets.identityNumbers[s.identity.name], c.namespaces[s.pod.Namespace]
	e := newEmitter(flows.Owner{Kind: flows.OwnerIdentity, Name: s.name})
	e.flow(flows.Identities, prioAddress, flows.RuleIdentity, flows.Match{}.Is(flows.RegLabels, flows.Uint(uint64(s.number))),
		flows.Set(flows.RegIdentity, flows.Uint(uint64(identity))),
		flows.Set(flows.RegNamespace, flows.Uint(flows.NamespaceIsPod|uint64(namespace))))
	if made := (&flows.Owned{Owner: e.owner, Flows: e.flows}); s.owned == nil || !s.owned.Alike(made) {
		s.owned = made
	}
	return s.owned
}

func find(list []*flows.Owned, o *flows.Owned) (int, bool) {
	return slices.BinarySearchFunc(list, o, func(a, b *flows.Owned) int { return strings.Compare(a.Owner.Name, b.Owner.Name) })
}

// replaced is a list, of one kind of owners in their order, with others in the place of those of the same
// names. Those without flows are left out. The list itself stays as it is.
func replaced(list, others []*flows.Owned) []*flows.Owned {
	if len(others) == 0 {
		return list
	}
	slices.SortFunc(others, func(a, b *flows.Owned) int { return cmp.Compare(a.Owner.Name, b.Owner.Name) })
	out := make([]*flows.Owned, 0, len(list)+len(others))
	for _, o := range others {
		at, there := find(list, o)
		out, list = append(out, list[:at]...), list[at:]
		if there {
			list = list[1:]
		}
		if len(o.Flows) > 0 {
			out = append(out, o)
		}
	}
	return append(out, list...)
}

// mergedOwned are two lists in the order of their owners as one.
func mergedOwned(a, b []*flows.Owned) []*flows.Owned {
	out := make([]*flows.Owned, 0, len(a)+len(b))
	if len(a) == 0 || len(b) == 0 || flows.CompareOwned(a[len(a)-1], b[0]) < 0 {
		return append(append(out, a...), b...)
	}
	flows.Walk(a, b, flows.CompareOwned, func(x, y **flows.Owned) {
		if x != nil {
			out = append(out, *x)
		}
		if y != nil {
			out = append(out, *y)
		}
	})
	return out
}
