package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Owned are one owner's flows, in the order of flows.Compare.
type Owned struct {
	Owner flows.Owner
	Flows []flows.Flow
}

// Crowd is a pod that more policies select in a direction than a packet can be judged by: it is
// isolated whole.
type Crowd struct {
	Namespace, Name, UID string
	Direction            state.Direction
	Policies             int
}

// Result is what a node's policies need of the switch.
type Result struct {
	// Owned has an entry for each owner that has flows, in the order of flows.CompareOwners.
	Owned []Owned
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
	flows.Sort(out)
	return out
}

// Compile compiles the policies that select pods of the node s.Node.
func Compile(s state.State) Result { return new(Compiler).Compile(s) }

// CompileWith is Compile with another hash for the numbers.
func CompileWith(s state.State, hash flows.Hash) Result { return (&Compiler{Hash: hash}).Compile(s) }

// result gathers the flows of all owners; those of a policy's blocks are what policy says.
func (c *compiler) result(policy func(owner flows.Owner, blocks []block) []flows.Flow) Result {
	few := []Owned{
		{flows.Owner{Kind: flows.OwnerPipeline}, static()},
		{flows.Owner{Kind: flows.OwnerGateway, Name: c.state.Node}, c.ownNode()},
	}
	blocks := map[flows.Owner][]block{}
	for _, b := range c.called {
		blocks[policyOwner(*b.policy)] = append(blocks[policyOwner(*b.policy)], b)
	}
	for owner, list := range blocks {
		few = append(few, Owned{owner, policy(owner, list)})
	}
	result := Result{Faulty: c.faulty()}
	for _, l := range c.locals {
		few = append(few, c.dispatch(l))
		for _, w := range ways {
			if n := len(l.calls[w.direction]); n > MaxPolicies {
				result.Crowds = append(result.Crowds, Crowd{l.pod.Namespace, l.pod.Name, l.pod.UID, w.direction, n})
			}
		}
	}
	addresses, identities := c.addressFlows()
	result.Owned = merged(inOwnersOrder(few), merged(addresses, identities))
	return result
}

// dispatch are a local pod's flows.
func (c *compiler) dispatch(l local) Owned {
	owner := flows.Owner{Kind: flows.OwnerPod, Name: l.pod.Namespace + "/" + l.pod.Name}
	var calls [2][]uint32
	for i, w := range ways {
		for _, name := range l.calls[w.direction] {
			calls[i] = append(calls[i], c.blocks[name])
		}
	}
	have, ok := c.memo.locals[owner]
	if ok && have.ofport == l.ofport && slices.Equal(have.calls[0], calls[0]) && slices.Equal(have.calls[1], calls[1]) {
		return Owned{owner, have.flows}
	}
	e := newEmitter(owner)
	for i, w := range ways {
		if len(calls[i]) > 0 {
			w.dispatch(e, l, calls[i])
		}
	}
	c.memo.locals[owner] = localMemo{l.ofport, calls, e.sorted()}
	return Owned{owner, e.flows}
}

func (l local) policies(d state.Direction) []*state.NetworkPolicy {
	if d == state.Egress {
		return l.egress
	}
	return l.ingress
}

// faulty are the called policies that cannot be understood, each once.
func (c *compiler) faulty() (out []state.NetworkPolicy) {
	seen := map[*state.NetworkPolicy]bool{}
	for _, b := range c.called {
		if b.policy.Fault != "" && !seen[b.policy] {
			seen[b.policy] = true
			out = append(out, *b.policy)
		}
	}
	return out
}

func policyOwner(p state.NetworkPolicy) flows.Owner {
	return flows.Owner{Kind: flows.OwnerPolicy, Name: p.Namespace + "/" + p.Name}
}

// compiler holds what the blocks are made from.
type compiler struct {
	state  state.State
	hash   flows.Hash
	memo   *memo
	locals []local
	// called are the blocks that local pods call, in the order of their names.
	called []block
	// peers are the pods that the called blocks are about.
	peers []peer
	// mentions is what they ask of them.
	mentions mentioned
	// identities are those of peers, in the order of their names.
	identities []identity

	blocks, labelSets, identityNumbers, namespaces map[string]uint32

	// labels are those of namespaces.
	labels map[string]map[string]string
}

func newCompiler(s state.State, hash flows.Hash, m *memo) *compiler {
	c := &compiler{state: s, hash: hash, memo: m, labels: map[string]map[string]string{}}
	for _, ns := range s.Namespaces {
		c.labels[ns.Name] = ns.Labels
	}
	index := byName(s)
	c.locals = locals(s, index, policiesByNamespace(s))
	c.findBlocks()
	c.findPeers(index)
	return c
}

func policiesByNamespace(s state.State) map[string][]*state.NetworkPolicy {
	out := map[string][]*state.NetworkPolicy{}
	for i := range s.NetworkPolicies {
		p := &s.NetworkPolicies[i]
		out[p.Namespace] = append(out[p.Namespace], p)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *state.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

func (c *compiler) findBlocks() {
	all := map[string]block{}
	for i := range c.locals {
		l := &c.locals[i]
		l.calls = map[state.Direction][]string{}
		for _, w := range ways {
			for _, p := range l.policies(w.direction) {
				b := blockFor(p, w.direction, l.pod)
				all[b.name] = b
				l.calls[w.direction] = append(l.calls[w.direction], b.name)
			}
		}
	}
	names := map[string]bool{}
	var asking []*policyMemo
	for _, name := range slices.Sorted(maps.Keys(all)) {
		names[name] = true
		b := all[name]
		c.called = append(c.called, b)
		asking = append(asking, c.memo.mentionsOf(b.policy, b.direction))
	}
	if c.memo.asked.peers == nil || !slices.Equal(asking, c.memo.asking) {
		c.memo.asked, c.memo.asking = newMentioned(), asking
		for _, p := range asking {
			c.memo.asked.addAll(p.mentions)
		}
	}
	c.mentions = c.memo.asked
	c.blocks = c.memo.numbers(names, c.hash)
}

// findPeers finds the pods that the blocks are about, and numbers what they are.
func (c *compiler) findPeers(index map[podName][]int) {
	labelSets, identities, namespaces := map[string]bool{}, map[string]identity{}, map[string]bool{}
	for _, ns := range c.state.Namespaces {
		namespaces[ns.Name] = true
	}
	for i := range c.state.Pods {
		if name := c.state.Pods[i].Namespace; !namespaces[name] {
			namespaces[name] = true
		}
	}
	if now := (&about{c.mentions, c.labels}); c.memo.about == nil || !now.same(c.memo.about) {
		c.memo.about = now
	}
	seen := map[*labelSet]bool{}
	c.peers = slices.DeleteFunc(peers(c.state, index, c.memo), func(p peer) bool {
		set := p.memo.set
		if !seen[set] {
			seen[set] = true
			namespaces[p.name.namespace] = true
			c.lookAt(set)
			if set.concerned {
				labelSets[set.name], identities[set.identity.name] = true, set.identity
			}
		}
		return !set.concerned
	})
	names := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(identities)) {
		names[name] = true
		c.identities = append(c.identities, identities[name])
	}
	c.labelSets, c.identityNumbers, c.namespaces = c.memo.numbers(labelSets, c.hash), c.memo.numbers(names, c.hash), c.memo.numbers(namespaces, c.hash)
}

// lookAt finds out what the blocks ask of a label set.
func (c *compiler) lookAt(s *labelSet) {
	if s.about == c.memo.about {
		return
	}
	s.about, s.concerned, s.identity = c.memo.about, c.concerns(s.pod), c.mentions.identity(s.pod)
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
