package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// labelSet is what all pods of one namespace, with the same labels and named ports, are alike in.
type labelSet struct {
	name string
	pod  state.Pod
	// refs is how many pods have it, peers how many of them are peers.
	refs, peers int
	// used is whether any was a peer when that was looked at last.
	used bool

	// concerned and identity were found out for about.
	about     *about
	concerned bool
	identity  identity
	// number is zero while blocks are not about it; owned leads from it to the identity.
	number uint32
	owned  *flows.Owned
}

// labelSets are those of all pods.
type labelSets struct {
	byName map[string]*labelSet
	// touched are those of which peers have come or gone.
	touched map[*labelSet]bool
	used    map[*labelSet]bool

	// What follows was made for about and for those that are used, in numbers.
	about           *about
	namespaces      map[string]uint32
	identities      []identity
	identityNumbers map[string]uint32
	numbers         map[string]uint32
	// owned are in the order of their owners.
	owned []*flows.Owned
}

func newLabelSets() *labelSets {
	return &labelSets{byName: map[string]*labelSet{}, touched: map[*labelSet]bool{}, used: map[*labelSet]bool{}}
}

// of is a pod's, with one reference more.
func (s *labelSets) of(p *state.Pod) *labelSet {
	name := labelSetName(*p)
	set, ok := s.byName[name]
	if !ok {
		set = &labelSet{name: name, pod: *p}
		s.byName[name] = set
	}
	set.refs++
	return set
}

func (s *labelSets) release(set *labelSet) {
	if set.refs--; set.refs == 0 {
		delete(s.byName, set.name)
	}
}

// count says that so many more peers have the set.
func (s *labelSets) count(set *labelSet, more int) {
	set.peers += more
	s.touched[set] = true
}

// settle tells whether other sets are used than before.
func (s *labelSets) settle() (changed bool) {
	for set := range s.touched {
		if used := set.peers > 0; used != set.used {
			set.used, changed = used, true
			if used {
				s.used[set] = true
			} else {
				delete(s.used, set)
			}
		}
	}
	clear(s.touched)
	return changed
}

// setsInOrder are those that blocks are about.
func (s *labelSets) setsInOrder() []*labelSet {
	var out []*labelSet
	for set := range s.used {
		if set.concerned {
			out = append(out, set)
		}
	}
	slices.SortFunc(out, func(a, b *labelSet) int { return strings.Compare(a.name, b.name) })
	return out
}

// updateSets finds out what blocks ask of label sets, and numbers what they are. It tells of which sets the
// number is another.
func (c *compiler) updateSets(s *labelSets) (renumbered map[*labelSet]bool) {
	changed := s.settle()
	if now := (&about{c.mentions, c.labels}); s.about == nil || !now.same(s.about) {
		s.about, changed = now, true
	}
	if changed {
		renumbered = c.renumber(s)
	}
	if changed || !sameNumbers(s.namespaces, c.namespaces) {
		s.namespaces, s.owned = c.namespaces, nil
		for _, set := range s.setsInOrder() {
			s.owned = append(s.owned, c.identityFlow(set))
		}
	}
	c.identities, c.identityNumbers = s.identities, s.identityNumbers
	return renumbered
}

func (c *compiler) renumber(s *labelSets) map[*labelSet]bool {
	names, identities := map[string]bool{}, map[string]identity{}
	for set := range s.used {
		c.lookAt(set, s.about)
		if set.concerned {
			names[set.name], identities[set.identity.name] = true, set.identity
		}
	}
	s.identities = s.identities[:0:0]
	for _, i := range identities {
		s.identities = append(s.identities, i)
	}
	slices.SortFunc(s.identities, func(a, b identity) int { return cmp.Compare(a.name, b.name) })
	s.numbers, s.identityNumbers = numbers(c.memo, names, c.hash), numbers(c.memo, identities, c.hash)
	renumbered := map[*labelSet]bool{}
	for set := range s.used {
		if n := s.numbers[set.name]; n != set.number {
			set.number, renumbered[set] = n, true
		}
	}
	return renumbered
}
