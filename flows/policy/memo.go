package policy

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// memo is what a Compiler keeps from one compilation for the next. Each entry says what it was made
// from, and is made anew where that is not the same any more: nothing depends on what came before.
type memo struct {
	pods      map[podName]*podMemo
	labelSets map[string]*labelSet
	locals    map[flows.Owner]localMemo
	policies  map[policyKey]*policyMemo
	// selections are by peerName, for the surroundings that the Compiler knows.
	selections map[string]*selection
	// asked is what the called blocks ask, as far as asking, the policies in their order, are the same.
	asked  mentioned
	asking []*policyMemo
	// about is what the label sets were last asked about.
	about *about
	// hashes are by name.
	hashes map[string]uint32
}

func (m *memo) begin() {
	if m.pods == nil {
		*m = memo{
			pods: map[podName]*podMemo{}, labelSets: map[string]*labelSet{}, locals: map[flows.Owner]localMemo{},
			policies: map[policyKey]*policyMemo{}, selections: map[string]*selection{}, hashes: map[string]uint32{},
		}
	}
}

// end forgets what has gone once it is more than what is there.
func (m *memo) end(c *compiler) {
	limit := func(live int) int { return 2*live + 1000 }
	if len(m.pods) > limit(len(c.state.Pods)+len(c.state.Attachments)) {
		clear(m.pods)
	}
	if len(m.labelSets) > limit(len(c.labelSets)) {
		clear(m.labelSets)
		clear(m.pods) // they refer to them
	}
	if len(m.locals) > limit(len(c.locals)) {
		clear(m.locals)
	}
	if len(m.policies) > limit(2*len(c.state.NetworkPolicies)) {
		clear(m.policies)
	}
	if len(m.selections) > limit(len(c.mentions.peers)) {
		clear(m.selections)
	}
	if len(m.hashes) > limit(len(c.labelSets)+len(c.blocks)+len(c.identityNumbers)+len(c.namespaces)) {
		clear(m.hashes)
	}
}

// podMemo is a pod's label set, and what leads from its addresses to it.
type podMemo struct {
	labels map[string]string
	ports  []state.NamedPort
	set    *labelSet

	addresses []netip.Addr
	number    uint32
	owned     Owned
}

// labelSet is what all pods of one namespace, with the same labels and named ports, are alike in.
type labelSet struct {
	name string
	pod  state.Pod
	// about is what concerned and identity were found out for.
	about     *about
	concerned bool
	identity  identity

	// number is this compilation's, owned what was made last.
	number uint32
	owned  Owned
}

// about is what the called blocks ask of pods, in namespaces with labels.
type about struct {
	mentions mentioned
	labels   map[string]map[string]string
}

func (a *about) same(b *about) bool {
	return sameMap(a.mentions.peers, b.mentions.peers) && sameMap(a.mentions.keys, b.mentions.keys) && sameMap(a.mentions.ports, b.mentions.ports) &&
		reflect.DeepEqual(a.labels, b.labels)
}

// labelSetOf is a pod's.
func (m *memo) labelSetOf(p *state.Pod) *podMemo {
	key := podName{p.Namespace, p.Name}
	have, ok := m.pods[key]
	if ok && sameMap(have.labels, p.Labels) && sameSlice(have.ports, p.Ports) {
		return have
	}
	name := labelSetName(*p)
	if ok && have.set.name == name {
		have.labels, have.ports = p.Labels, p.Ports
		return have
	}
	set, known := m.labelSets[name]
	if !known {
		set = &labelSet{name: name, pod: *p}
		m.labelSets[name] = set
	}
	out := &podMemo{labels: p.Labels, ports: p.Ports, set: set}
	m.pods[key] = out
	return out
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

func (m *memo) numbers(names map[string]bool, hash flows.Hash) map[string]uint32 {
	return flows.Numbers(names, func(name string) uint32 {
		n, ok := m.hashes[name]
		if !ok {
			n = hash(name)
			m.hashes[name] = n
		}
		return n
	})
}

// samePolicy tells whether two policies are, by what they refer to if possible.
func samePolicy(a, b *state.NetworkPolicy) bool {
	if a == b {
		return true
	}
	if a.Namespace == b.Namespace && a.Name == b.Name && a.UID == b.UID && a.Fault == b.Fault &&
		sameMapOnly(a.Selects.Labels, b.Selects.Labels) && sameSliceOnly(a.Selects.Requirements, b.Selects.Requirements) &&
		sameSliceOnly(a.Types, b.Types) && sameSliceOnly(a.Ingress, b.Ingress) && sameSliceOnly(a.Egress, b.Egress) {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// sameMapOnly tells whether two maps are one; they may be alike nevertheless.
func sameMapOnly[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

func sameSliceOnly[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
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

func sameSlice[T comparable](a, b []T) bool { return sameSliceOnly(a, b) || slices.Equal(a, b) }

// merged are lists, each in the order of flows.CompareOwners, as one.
func merged(a, b []Owned) []Owned {
	out := make([]Owned, 0, len(a)+len(b))
	flows.Walk(a, b, func(x, y Owned) int { return flows.CompareOwners(x.Owner, y.Owner) }, func(x, y *Owned) {
		switch {
		case x == nil:
			out = append(out, *y)
		case y == nil:
			out = append(out, *x)
		default:
			out = append(out, Owned{x.Owner, together(x.Flows, y.Flows)})
		}
	})
	return out
}

// inOwnersOrder sorts a list, and makes one of those of one owner.
func inOwnersOrder(list []Owned) []Owned {
	slices.SortStableFunc(list, func(x, y Owned) int { return flows.CompareOwners(x.Owner, y.Owner) })
	out := list[:0]
	for _, o := range list {
		switch last := len(out) - 1; {
		case len(o.Flows) == 0:
		case last >= 0 && out[last].Owner == o.Owner:
			out[last].Flows = together(out[last].Flows, o.Flows)
		default:
			out = append(out, o)
		}
	}
	return out
}

func together(a, b []flows.Flow) []flows.Flow {
	out := slices.Concat(a, b)
	flows.Sort(out)
	return out
}
