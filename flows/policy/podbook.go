package policy

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// podBook are the cluster's pods, kept from one compilation for the next: what changes is entered, the
// others, which are most, are only compared.
type podBook struct {
	// list is what the book is of.
	list      []state.Pod
	byName    map[podName][]*entry
	byAddress map[netip.Addr][]*entry
	// inNamespace counts them.
	inNamespace map[string]int
	// attached are the addresses of attachments, which no entry holds.
	attached map[netip.Addr]bool
	sets     *labelSets
}

// entry is a pod.
type entry struct {
	pod state.Pod
	// set is nil for one that is no peer, whatever addresses it has.
	set *labelSet
	// held are the addresses that are its own.
	held []netip.Addr
}

// podName names a pod, or several after another.
type podName struct{ namespace, name string }

func nameOfPod(p *state.Pod) podName { return podName{p.Namespace, p.Name} }

func newPodBook(sets *labelSets) *podBook {
	return &podBook{
		byName: map[podName][]*entry{}, byAddress: map[netip.Addr][]*entry{}, inNamespace: map[string]int{}, sets: sets,
	}
}

// update enters what has changed, and returns the names of the pods whose peers are others now.
func (b *podBook) update(pods []state.Pod, attached map[netip.Addr]bool) map[podName]bool {
	changed, moved := map[podName]bool{}, map[netip.Addr]bool{}
	eachChange(b.list, pods, func(p *state.Pod) { b.remove(p, changed, moved) }, func(p *state.Pod) { b.add(p, moved) })
	b.list = pods
	for a := range b.attached {
		if !attached[a] {
			moved[a] = true
		}
	}
	for a := range attached {
		if !b.attached[a] {
			moved[a] = true
		}
	}
	b.attached = attached
	for a := range moved {
		for _, e := range b.byAddress[a] {
			if b.settle(e) {
				changed[nameOfPod(&e.pod)] = true
			}
		}
	}
	return changed
}

// candidate tells whether a pod may be a peer: its addresses are its own alone.
func candidate(p *state.Pod) bool { return !p.HostNetwork && !p.Finished && len(p.Addresses) > 0 }

func (b *podBook) add(p *state.Pod, moved map[netip.Addr]bool) {
	e, name := &entry{pod: *p}, nameOfPod(p)
	list := b.byName[name]
	at, _ := slices.BinarySearchFunc(list, e, compareEntries)
	b.byName[name] = slices.Insert(list, at, e)
	b.inNamespace[p.Namespace]++
	if !candidate(p) {
		return
	}
	e.set = b.sets.of(p)
	for _, a := range p.Addresses {
		b.byAddress[a] = append(b.byAddress[a], e)
		moved[a] = true
	}
}

func (b *podBook) remove(p *state.Pod, changed map[podName]bool, moved map[netip.Addr]bool) {
	name := nameOfPod(p)
	list := b.byName[name]
	at := slices.IndexFunc(list, func(e *entry) bool { return samePod(&e.pod, p) })
	e := list[at]
	if list = slices.Delete(list, at, at+1); len(list) == 0 {
		delete(b.byName, name)
	} else {
		b.byName[name] = list
	}
	if b.inNamespace[p.Namespace]--; b.inNamespace[p.Namespace] == 0 {
		delete(b.inNamespace, p.Namespace)
	}
	if e.set == nil {
		return
	}
	if len(e.held) > 0 {
		changed[name] = true
		b.sets.count(e.set, -1)
	}
	b.sets.release(e.set)
	for _, a := range p.Addresses {
		others := slices.DeleteFunc(b.byAddress[a], func(other *entry) bool { return other == e })
		if len(others) == 0 {
			delete(b.byAddress, a)
		} else {
			b.byAddress[a] = others
		}
		moved[a] = true
	}
}

// settle finds out which addresses an entry holds, and tells whether they are others now.
func (b *podBook) settle(e *entry) bool {
	held := e.pod.Addresses
	if slices.ContainsFunc(held, func(a netip.Addr) bool { return !b.holds(e, a) }) {
		held = slices.DeleteFunc(slices.Clone(held), func(a netip.Addr) bool { return !b.holds(e, a) })
	}
	if slices.Equal(held, e.held) {
		return false
	}
	b.sets.count(e.set, cmp.Compare(len(held), 0)-cmp.Compare(len(e.held), 0))
	e.held = held
	return true
}

// holds tells whether an address is the entry's: what is plugged in here has what it was plugged in
// with, and of the others the one that the claims' rule gives it to.
func (b *podBook) holds(e *entry, a netip.Addr) bool {
	if b.attached[a] {
		return false
	}
	list := b.byAddress[a]
	return len(list) == 1 || !slices.ContainsFunc(list, func(other *entry) bool { return claims.Compare(claims.OfPod(other.pod), claims.OfPod(e.pod)) < 0 })
}

// compareEntries is the order of entries of one name: who lives first, then the newer.
func compareEntries(a, b *entry) int {
	return cmp.Or(claims.Compare(claims.OfPod(a.pod), claims.OfPod(b.pod)), strings.Compare(a.pod.UID, b.pod.UID))
}

// of is the pod that an attachment is of; ok is false if it is a container that is none.
func (b *podBook) of(a state.Attachment, node string) (pod state.Pod, ok bool) {
	if a.PodName == "" {
		return state.Pod{}, false
	}
	for _, e := range b.byName[podName{a.PodNamespace, a.PodName}] {
		if a.Of(e.pod) {
			return e.pod, true
		}
	}
	return a.Stranger(node), true
}

// eachChange tells what turns a list of pods into another. It is quick where both are mostly in one order,
// that of their keys.
func eachChange(before, after []state.Pod, gone, came func(*state.Pod)) {
	if flows.SameSlice(before, after) {
		return
	}
	for len(before) > 0 && len(after) > 0 {
		b, a := &before[0], &after[0]
		if samePod(b, a) {
			before, after = before[1:], after[1:]
			continue
		}
		c := state.CompareKeys(b.Namespace, b.Name, a.Namespace, a.Name)
		if c <= 0 {
			gone(b)
			before = before[1:]
		}
		if c >= 0 {
			came(a)
			after = after[1:]
		}
	}
	for i := range before {
		gone(&before[i])
	}
	for i := range after {
		came(&after[i])
	}
}

// samePod tells whether two pods are, by what they refer to: two that differ in that may be alike
// nevertheless.
func samePod(a, b *state.Pod) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && a.UID == b.UID && sameMapOnly(a.Labels, b.Labels) &&
		flows.SameSlice(a.Addresses, b.Addresses) && flows.SameSlice(a.Ports, b.Ports) &&
		a.HostNetwork == b.HostNetwork && a.Finished == b.Finished && a.Deleting == b.Deleting && a.Created == b.Created && a.Node == b.Node
}

// sameMapOnly tells whether two maps are one; they may be alike nevertheless.
func sameMapOnly[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
