package policy

import (
	"slices"

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
	made map[flows.Owner]made
	from surroundings
}

// made are a policy's flows, of its blocks with their numbers.
type made struct {
	policy  *state.NetworkPolicy
	names   []string
	numbers []uint32
	// peers are those that its rules name, by peerName in their order.
	peers      []string
	selections []*selection
	// all is that beside the peers, all identities count: a rule names a port of theirs.
	all   bool
	flows []flows.Flow
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
	same := from.same(k.from)
	if !same {
		for _, selection := range k.memo.selections {
			selection.fresh = false
		}
	}
	before := k.made
	k.made, k.from = make(map[flows.Owner]made, len(before)), from
	return c.result(func(owner flows.Owner, blocks []block) []flows.Flow {
		m := c.from(blocks)
		if old, ok := before[owner]; ok && (same || !old.all) && old.same(m) && (same || c.selectsAlike(old)) {
			m.flows, m.peers, m.selections, m.all = old.flows, old.peers, old.selections, old.all
		} else {
			m.flows = c.emit(owner, blocks)
			c.dependsOn(&m, blocks)
		}
		k.made[owner] = m
		return m.flows
	})
}

// from says of what a policy's flows are to be made, beside its surroundings.
func (c *compiler) from(blocks []block) made {
	m := made{policy: blocks[0].policy}
	for _, b := range blocks {
		m.names, m.numbers = append(m.names, b.name), append(m.numbers, c.blocks[b.name])
	}
	return m
}

func (m made) same(other made) bool {
	return slices.Equal(m.names, other.names) && slices.Equal(m.numbers, other.numbers) && samePolicy(m.policy, other.policy)
}

// selectsAlike tells whether the peers of what was made stand for the same as then.
func (c *compiler) selectsAlike(m made) bool {
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

// emit makes the flows of a policy's blocks, in the order of flows.Compare.
func (c *compiler) emit(owner flows.Owner, blocks []block) []flows.Flow {
	e := newEmitter(owner)
	for _, b := range blocks {
		b.emit(c, e)
	}
	return e.sorted()
}
