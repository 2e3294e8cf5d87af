package policy

import (
	"maps"
	"reflect"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// memo is what a Compiler keeps from one compilation for the next. Each entry says what it was made
// from, and is made anew where that is not the same any more: nothing depends on what came before.
type memo struct {
	book     *podBook
	sets     *labelSets
	attached map[podName][]*attachedPeer
	// addresses lead from pods' addresses to label sets, identities are they and what leads on from there;
	// both are in the order of their owners.
	addresses, identities []*flows.Owned
	// labels are those of the listed namespaces, namespaces the numbers of all.
	listed     []state.Namespace
	labels     map[string]map[string]string
	namespaces map[string]uint32

	policyBook policyBook
	// locals are the last compilation's, dispatched their dispatch; called and blocks are of those locals.
	locals     []*local
	dispatched map[flows.Owner]localMemo
	called     []calledPolicy
	blocks     map[string]uint32

	policies map[policyKey]*policyMemo
	// selections are by peerName, for the surroundings that the Compiler knows.
	selections map[string]*selection
	// asked is what the called blocks ask, as far as asking, the policies in their order, are the same.
	asked  mentioned
	asking []*policyMemo
	// hashes are by name.
	hashes map[string]uint32
}

func (m *memo) begin() {
	if m.book == nil {
		sets := newLabelSets()
		*m = memo{
			sets: sets, book: newPodBook(sets), dispatched: map[flows.Owner]localMemo{},
			policies: map[policyKey]*policyMemo{}, selections: map[string]*selection{}, hashes: map[string]uint32{},
		}
	}
}

// end forgets what has gone once it is more than what is there.
func (m *memo) end(c *compiler) {
	limit := func(live int) int { return 2*live + 1000 }
	if len(m.dispatched) > limit(len(c.locals)) {
		clear(m.dispatched)
	}
	if len(m.policies) > limit(2*len(c.state.NetworkPolicies)) {
		clear(m.policies)
	}
	if len(m.selections) > limit(len(c.mentions.peers)) {
		clear(m.selections)
	}
	if len(m.hashes) > limit(len(m.sets.numbers)+len(c.blocks)+len(c.identityNumbers)+len(c.namespaces)) {
		clear(m.hashes)
	}
}

// about is what the called blocks ask of pods, in namespaces with labels.
type about struct {
	mentions mentioned
	labels   map[string]map[string]string
}

func (a *about) same(b *about) bool {
	return sameMap(a.mentions.peers, b.mentions.peers) && sameMap(a.mentions.keys, b.mentions.keys) && sameMap(a.mentions.ports, b.mentions.ports) &&
		sameMapOnly(a.labels, b.labels)
}

// policyKey is a policy in a direction.
type policyKey struct {
	namespace, name string
	direction       state.Direction
}

// policyMemo is what a policy's rules of a direction mention.
type policyMemo struct {
	policy   *state.NetworkPolicy
	mentions mentioned
}

func (m *memo) mentionsOf(p *state.NetworkPolicy, d state.Direction) *policyMemo {
	key := policyKey{p.Namespace, p.Name, d}
	have, ok := m.policies[key]
	if ok && samePolicy(have.policy, p) {
		have.policy = p
		return have
	}
	out := &policyMemo{policy: p, mentions: newMentioned()}
	for _, r := range p.Rules(d) {
		out.mentions.add(p.Namespace, d, r)
	}
	m.policies[key] = out
	return out
}

// localMemo is a local pod's dispatch.
type localMemo struct {
	ofport uint32
	calls  [2][]uint32
	flows  []flows.Flow
}

// selection is what a peer's selectors stand for. It is another one only if that has changed.
type selection struct {
	matches []flows.Match
	// fresh is false if it is to be found out anew.
	fresh bool
}

// numbers are those of names.
func numbers[V any](m *memo, names map[string]V, hash flows.Hash) map[string]uint32 {
	return flows.Numbers(names, func(name string) uint32 {
		n, ok := m.hashes[name]
		if !ok {
			n = hash(name)
			m.hashes[name] = n
		}
		return n
	})
}

// sameNumbers tells whether the same names have the same numbers.
func sameNumbers(a, b map[string]uint32) bool { return sameMapOnly(a, b) || maps.Equal(a, b) }

// samePolicy tells whether two policies are, by what they refer to if possible.
func samePolicy(a, b *state.NetworkPolicy) bool {
	if a == b {
		return true
	}
	if a.Namespace == b.Namespace && a.Name == b.Name && a.UID == b.UID && a.Fault == b.Fault &&
		sameMapOnly(a.Selects.Labels, b.Selects.Labels) && flows.SameSlice(a.Selects.Requirements, b.Selects.Requirements) &&
		flows.SameSlice(a.Types, b.Types) && flows.SameSlice(a.Ingress, b.Ingress) && flows.SameSlice(a.Egress, b.Egress) {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// sameMap tells whether two maps have the same keys, and, where they can be compared, the same values.
func sameMap[K comparable, V any](a, b map[K]V) bool {
	if sameMapOnly(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for key, x := range a {
		y, ok := b[key]
		if !ok {
			return false
		}
		if x, comparable := any(x).(string); comparable && x != any(y).(string) {
			return false
		}
	}
	return true
}
