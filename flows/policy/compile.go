package policy

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Crowd is a pod that more policies select in a direction than a packet can be judged by: it is
// isolated whole.
type Crowd struct {
	Namespace, Name, UID string
	Direction            state.Direction
	Policies             int
}

// Result is what a node's policies need of the switch.
type Result struct {
	// Owned has an entry for each owner that has flows of others as well, in the order of flows.CompareOwners.
	Owned []flows.Owned
	// Policies and Identities are the owners that have no other flows, each in that order: of two successive results of a
	// Compiler what is alike of them is the same.
	Policies, Identities []*flows.Owned
	// Crowds are in the order of the pods' ports.
	Crowds []Crowd
	// Faulty are the policies that select a pod here and cannot be understood.
	Faulty []state.NetworkPolicy
}

// Flows are all flows, in the order of flows.Compare.
func (r Result) Flows() []flows.Flow {
	var out []flows.Flow
	for _, o := range r.Owned {
		out = append(out, o.Flows...)
	}
	for _, o := range slices.Concat(r.Policies, r.Identities) {
		out = append(out, o.Flows...)
	}
	flows.Sort(out)
	return out
}

// Compile compiles the policies that select pods of the node s.Node.
func Compile(s state.State) Result { return new(Compiler).Compile(s) }

// CompileWith is Compile with another hash for the numbers.
func CompileWith(s state.State, hash flows.Hash) Result { return (&Compiler{Hash: hash}).Compile(s) }

// result gathers the flows of all owners; those of a called policy's blocks are what policy says.
func (c *compiler) result(policy func(calledPolicy) *flows.Owned) Result {
	owned := []flows.Owned{
		{Owner: flows.Owner{Kind: flows.OwnerPipeline}, Flows: static()},
		{Owner: flows.Owner{Kind: flows.OwnerGateway, Name: c.state.Node}, Flows: c.ownNode()},
	}
	result := Result{Faulty: c.faulty(), Policies: make([]*flows.Owned, 0, len(c.called))}
	for _, p := range c.called {
		if o := policy(p); len(o.Flows) > 0 {
			result.Policies = append(result.Policies, o)
		}
	}
	for _, l := range c.locals {
		owned = append(owned, c.dispatch(l))
		for _, w := range ways {
			if n := len(l.calls[w.direction]); n > MaxPolicies {
				result.Crowds = append(result.Crowds, Crowd{l.pod.Namespace, l.pod.Name, l.pod.UID, w.direction, n})
			}
		}
	}
	result.Owned, result.Identities = inOwnersOrder(owned), c.memo.identities
	return result
}

// dispatch are a local pod's flows.
func (c *compiler) dispatch(l *local) flows.Owned {
	owner := flows.Owner{Kind: flows.OwnerPod, Name: l.pod.Namespace + "/" + l.pod.Name}
	var calls [2][]uint32
	for i, w := range ways {
		for _, b := range l.calls[w.direction] {
			calls[i] = append(calls[i], c.blocks[b.name])
		}
	}
	have, ok := c.memo.dispatched[owner]
	if ok && have.ofport == l.ofport && slices.Equal(have.calls[0], calls[0]) && slices.Equal(have.calls[1], calls[1]) {
		return flows.Owned{Owner: owner, Flows: have.flows}
	}
	e := newEmitter(owner)
	for i, w := range ways {
		if len(calls[i]) > 0 {
			w.dispatch(e, l)
			w.calls(e, l, calls[i])
		}
	}
	c.memo.dispatched[owner] = localMemo{l.ofport, calls, e.sorted()}
	return flows.Owned{Owner: owner, Flows: e.flows}
}

// faulty are the called policies that cannot be understood.
func (c *compiler) faulty() (out []state.NetworkPolicy) {
	for _, p := range c.called {
		if of := p.blocks[0].policy; of.Fault != "" {
			out = append(out, *of)
		}
	}
	return out
}

func policyOwner(p state.NetworkPolicy) flows.Owner {
	return flows.Owner{Kind: flows.OwnerPolicy, Name: p.Namespace + "/" + p.Name}
}

// calledPolicy is a policy of which blocks are called, in the order of their names.
type calledPolicy struct {
	owner  flows.Owner
	blocks []block
}

// compiler holds what the blocks are made from.
type compiler struct {
	state  state.State
	hash   flows.Hash
	memo   *memo
	locals []*local
	// called are the policies that local pods call, in the order of their owners.
	called []calledPolicy
	// mentions is what they ask of them.
	mentions mentioned
	// identities are those of peers, in the order of their names.
	identities []identity

	blocks, identityNumbers, namespaces map[string]uint32

	// labels are those of namespaces.
	labels map[string]map[string]string
}

func newCompiler(s state.State, hash flows.Hash, m *memo) *compiler {
	c := &compiler{state: s, hash: hash, memo: m}
	c.findLabels()
	claimed, attached := attachedAddresses(s)
	changed := m.book.update(s.Pods, attached)
	m.policyBook.update(s.NetworkPolicies)
	c.findLocals()
	c.findBlocks()
	maps.Copy(changed, c.findAttached(claimed))
	c.findNamespaces()
	sets, addresses := m.sets.owned, m.addresses
	c.updateAddresses(changed, c.updateSets(m.sets))
	if !flows.SameSlice(sets, m.sets.owned) || !flows.SameSlice(addresses, m.addresses) {
		m.identities = mergedOwned(m.sets.owned, m.addresses)
	}
	return c
}

// findLabels finds the namespaces' labels.
func (c *compiler) findLabels() {
	m := c.memo
	if m.labels == nil || !flows.SameSlice(m.listed, c.state.Namespaces) {
		labels := make(map[string]map[string]string, len(c.state.Namespaces))
		for _, ns := range c.state.Namespaces {
			labels[ns.Name] = ns.Labels
		}
		if m.listed = c.state.Namespaces; m.labels == nil || !reflect.DeepEqual(labels, m.labels) {
			m.labels = labels
		}
	}
	c.labels = m.labels
}

// findNamespaces numbers those that there are, and those that only pods are in.
func (c *compiler) findNamespaces() {
	m, names := c.memo, map[string]bool{}
	for _, ns := range c.state.Namespaces {
		names[ns.Name] = true
	}
	for name := range m.book.inNamespace {
		names[name] = true
	}
	for p := range m.attached {
		names[p.namespace] = true
	}
	if len(names) != len(m.namespaces) || slices.ContainsFunc(slices.Collect(maps.Keys(names)), func(name string) bool { return m.namespaces[name] == 0 }) {
		m.namespaces = numbers(m, names, c.hash)
	}
	c.namespaces = m.namespaces
}

// findBlocks finds the blocks that the local pods call, and what they ask of pods.
func (c *compiler) findBlocks() {
	m := c.memo
	if m.called == nil || !slices.Equal(c.locals, m.locals) {
		m.locals, m.called = c.locals, calledBy(c.locals)
		names, asking := map[string]bool{}, make([]*policyMemo, 0, len(m.called))
		for _, p := range m.called {
			for _, b := range p.blocks {
				names[b.name] = true
				asking = append(asking, m.mentionsOf(b.policy, b.direction))
			}
		}
		if m.asked.peers == nil || !slices.Equal(asking, m.asking) {
			m.asked, m.asking = newMentioned(), asking
			for _, p := range asking {
				m.asked.addAll(p.mentions)
			}
		}
		m.blocks = numbers(m, names, c.hash)
	}
	c.called, c.mentions, c.blocks = m.called, m.asked, m.blocks
}

// calledBy are the policies with blocks that are called, in the order of their owners.
func calledBy(locals []*local) []calledPolicy {
	seen, at, out := map[string]bool{}, map[flows.Owner]int{}, []calledPolicy{}
	for _, l := range locals {
		for _, w := range ways {
			for _, b := range l.calls[w.direction] {
				if seen[b.name] {
					continue
				}
				seen[b.name] = true
				owner := policyOwner(*b.policy)
				i, ok := at[owner]
				if !ok {
					i, at[owner] = len(out), len(out)
					out = append(out, calledPolicy{owner: owner})
				}
				out[i].blocks = append(out[i].blocks, b)
			}
		}
	}
	for _, p := range out {
		slices.SortFunc(p.blocks, func(a, b block) int { return strings.Compare(a.name, b.name) })
	}
	slices.SortFunc(out, func(a, b calledPolicy) int { return flows.CompareOwners(a.owner, b.owner) })
	return out
}

// lookAt finds out what the blocks ask of a label set.
func (c *compiler) lookAt(s *labelSet, a *about) {
	if s.about != a {
		s.about, s.concerned, s.identity = a, c.concerns(s.pod), c.mentions.identity(s.pod)
	}
}

// concerns tells whether blocks are about a pod: a selector of a rule selects it, or it has a
// port that an egress rule names.
func (c *compiler) concerns(p state.Pod) bool {
	for _, q := range c.mentions.peers {
		if c.inNamespace(q.namespace, q.peer, p.Namespace) && (q.peer.Pods == nil || matches(*q.peer.Pods, p.Labels)) {
			return true
		}
	}
	for name := range c.mentions.ports {
		if resolve(p, name) != 0 {
			return true
		}
	}
	return false
}

func (c *compiler) namespaceLabels(name string) map[string]string {
	if labels, ok := c.labels[name]; ok {
		return labels
	}
	return map[string]string{state.NamespaceNameLabel: name}
}

// ownAddresses are this node's: its own, and its gateway's.
func (c *compiler) ownAddresses() []netip.Addr {
	self, _ := c.state.Self()
	out := slices.Clone(self.Addresses)
	for _, p := range self.PodCIDRs {
		out = append(out, p.Masked().Addr().Next())
	}
	return out
}

// inOwnersOrder sorts a list, and makes one of those of one owner. Who has no flows is left out.
func inOwnersOrder(list []flows.Owned) []flows.Owned {
	slices.SortStableFunc(list, func(x, y flows.Owned) int { return flows.CompareOwners(x.Owner, y.Owner) })
	out := list[:0]
	for _, o := range list {
		switch last := len(out) - 1; {
		case len(o.Flows) == 0:
		case last >= 0 && out[last].Owner == o.Owner:
			out[last].Flows = slices.Concat(out[last].Flows, o.Flows)
			flows.Sort(out[last].Flows)
		default:
			out = append(out, o)
		}
	}
	return out
}
