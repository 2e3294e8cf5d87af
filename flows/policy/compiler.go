package policy

import (
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Compiler compiles one state after another, each as Compile does, and makes a policy's flows
// anew only where something that they are made from has changed. The zero Compiler is ready to
// use, by one caller. States that it was given must not change afterwards.
type Compiler struct {
	// Hash is for the numbers, SHA-256's if nil.
	Hash flows.Hash
	memo memo
	made map[flows.Owner]*made
	from surroundings
	// times is how often the surroundings have changed.
	times int
}

// made are a policy's flows, of its blocks with their numbers.
type made struct {
	blocks  []block
	numbers []uint32
	// peers are those that its rules name, by peerName in their order.
	peers      []string
	selections []*selection
	// all is that beside the peers, all identities count: a rule names a port of theirs.
	all   bool
	owned *flows.Owned
	// times is the Compiler's as of when this was last right. Meanwhile nobody here may have called the policy.
	times int
}

// surroundings are all that a block is made from beside its own policy and number. An identity's
// name says what it is.
type surroundings struct {
	identities, namespaces map[string]uint32
	labels                 map[string]map[string]string
}

func (a surroundings) same(b surroundings) bool {
	return sameNumbers(a.identities, b.identities) && sameNumbers(a.namespaces, b.namespaces) && sameMapOnly(a.labels, b.labels)
}

// Compile compiles the policies that select pods of the node s.Node.
func (k *Compiler) Compile(s state.State) Result {
	hash := k.Hash
	if hash == nil {
		hash = flows.HashName
	}
	k.memo.begin()
	c := newCompiler(s, hash, &k.memo)
	defer k.memo.end(c)
	from := surroundings{c.identityNumbers, c.namespaces, c.labels}
	if !from.same(k.from) {
		k.times++
		for _, selection := range k.memo.selections {
			selection.fresh = false
		}
	}
	if k.from = from; k.made == nil || len(k.made) > 2*len(c.called)+1000 {
		k.made = make(map[flows.Owner]*made, len(c.called))
	}
	return c.result(func(p calledPolicy) *flows.Owned {
		m, ok := k.made[p.owner]
		if !ok || !c.isOf(m, p) || m.times != k.times && (m.all || !c.selectsAlike(m)) {
			m = c.makePolicy(p, m)
			k.made[p.owner] = m
		}
		m.times = k.times
		return m.owned
	})
}

// isOf tells whether what was made was of these blocks, with their numbers.
func (c *compiler) isOf(m *made, p calledPolicy) bool {
	if len(m.blocks) != len(p.blocks) {
		return false
	}
	for i, b := range p.blocks {
		if m.blocks[i].policy != b.policy || m.blocks[i].name != b.name || m.numbers[i] != c.blocks[b.name] {
			return false
		}
	}
	return true
}

// selectsAlike tells whether the peers of what was made stand for the same as then.
func (c *compiler) selectsAlike(m *made) bool {
	for i, name := range m.peers {
		if p, ok := c.mentions.peers[name]; !ok || c.selection(name, p) != m.selections[i] {
			return false
		}
	}
	return true
}

// dependsOn notes the peers that the blocks name.
func (c *compiler) dependsOn(m *made, blocks []block) {
	for _, b := range blocks {
		for _, r := range b.policy.Rules(b.direction) {
			for _, p := range r.Peers {
				if p.Block == nil {
					name := peerName(b.policy.Namespace, p)
					m.peers = append(m.peers, name)
					m.selections = append(m.selections, c.selection(name, namespacedPeer{b.policy.Namespace, p}))
				}
			}
			for _, p := range r.Ports {
				m.all = m.all || p.Name != "" && b.direction == state.Egress
			}
		}
	}
}

// makePolicy makes a policy's flows, in the order of flows.Compare; last is what was made of it before, if anything.
func (c *compiler) makePolicy(p calledPolicy, last *made) *made {
	m, e := &made{blocks: p.blocks}, newEmitter(p.owner)
	for _, b := range p.blocks {
		m.numbers = append(m.numbers, c.blocks[b.name])
		b.emit(c, e)
	}
	c.dependsOn(m, p.blocks)
	m.owned = &flows.Owned{Owner: p.owner, Flows: e.sorted()}
	if last != nil && last.owned.Alike(m.owned) {
		m.owned = last.owned
	}
	return m
}
