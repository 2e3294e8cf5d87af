package policy

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Compiler compiles one state after another, each as Compile does, and makes a policy's flows
// anew only where something that they are made from has changed. The zero Compiler is ready to
// use, by one caller. States that it was given must not change afterwards.
type Compiler struct {
	// Hash is for the numbers, SHA-256's if nil.
	Hash Hash
	made map[flows.Owner]made
	from surroundings
}

// made are a policy's flows, of its blocks with their numbers.
type made struct {
	policy *state.NetworkPolicy
	blocks string
	flows  []flows.Flow
}

// surroundings are all that a block is made from beside its own policy and number. An identity's
// name says what it is.
type surroundings struct {
	identities, namespaces map[string]uint32
	labels                 map[string]map[string]string
}

func (a surroundings) same(b surroundings) bool {
	return maps.Equal(a.identities, b.identities) && maps.Equal(a.namespaces, b.namespaces) && reflect.DeepEqual(a.labels, b.labels)
}

// Compile compiles the policies that select pods of the node s.Node.
func (k *Compiler) Compile(s state.State) Result {
	hash := k.Hash
	if hash == nil {
		hash = defaultHash
	}
	c := newCompiler(s, hash)
	from := surroundings{c.identityNumbers, c.namespaces, c.labels}
	if !from.same(k.from) {
		k.made = nil
	}
	before := k.made
	k.made, k.from = map[flows.Owner]made{}, from
	return c.result(func(owner flows.Owner, blocks []block) []flows.Flow {
		m := made{policy: blocks[0].policy, blocks: c.words(blocks)}
		if old, ok := before[owner]; ok && old.blocks == m.blocks && (old.policy == m.policy || reflect.DeepEqual(old.policy, m.policy)) {
			m.flows = old.flows
		} else {
			m.flows = c.emit(owner, blocks)
		}
		k.made[owner] = m
		return m.flows
	})
}

// words name blocks and their numbers.
func (c *compiler) words(blocks []block) string {
	var out strings.Builder
	for _, b := range blocks {
		fmt.Fprintf(&out, "%s %d\n", b.name, c.blocks[b.name])
	}
	return out.String()
}

// emit makes the flows of a policy's blocks, in the order of flows.Compare.
func (c *compiler) emit(owner flows.Owner, blocks []block) []flows.Flow {
	e := emitter{owner: owner}
	for _, b := range blocks {
		b.emit(c, &e)
	}
	return e.sorted()
}
