package agent

import (
	"reflect"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// keeper remembers what was last known of the pods that are plugged in here. A pod is
// what it was until its DEL, also when its object has gone before: no policy lets go of it, and
// none takes hold of it. One pass at a time.
type keeper struct {
	// base is the list that index is of: where the attachments' pods are in it.
	base        []state.Pod
	attachments []state.Attachment
	index       map[podName]int
	last        map[attached]state.Pod
	// gone are those that base lacks, whole is base with them.
	gone, whole []state.Pod
	// recall are the pods that this agent's predecessor knew last; it is asked once, if an
	// attachment has no object when the agent starts.
	recall func() []state.Pod
}

type podName struct{ namespace, name string }

// attached names the pod of an attachment.
type attached struct{ namespace, name, uid string }

// pods are the cluster's, and those of the attachments that have gone. The same is the same
// slice.
func (k *keeper) pods(now []state.Pod, attachments []state.Attachment) []state.Pod {
	k.find(now, attachments)
	if k.last == nil {
		k.last = k.predecessor(now, attachments)
	}
	last := make(map[attached]state.Pod, len(attachments))
	var gone []state.Pod
	for _, a := range attachments {
		key := attached{a.PodNamespace, a.PodName, a.PodUID}
		if _, done := last[key]; done || a.PodName == "" {
			continue
		}
		if p, there := k.object(now, a); there {
			last[key] = p
		} else if p, known := k.last[key]; known {
			p.Deleting = true
			last[key] = p
			gone = append(gone, p)
		}
	}
	if len(gone) == 0 {
		k.whole = now
	} else if !flows.SameSlice(now, k.base) || !reflect.DeepEqual(gone, k.gone) {
		k.whole = append(slices.Clone(now), gone...)
	}
	k.base, k.last, k.gone = now, last, gone
	return k.whole
}

// find makes the index: of the pods of attachments only, which are few.
func (k *keeper) find(now []state.Pod, attachments []state.Attachment) {
	if flows.SameSlice(now, k.base) && slices.EqualFunc(attachments, k.attachments, func(a, b state.Attachment) bool {
		return a.PodName == b.PodName && a.PodNamespace == b.PodNamespace
	}) {
		return
	}
	k.attachments = attachments
	k.index = make(map[podName]int, len(attachments))
	missing := false
	for _, a := range attachments {
		key := podName{a.PodNamespace, a.PodName}
		at, found := slices.BinarySearchFunc(now, key, func(p state.Pod, key podName) int {
			return state.CompareKeys(p.Namespace, p.Name, key.namespace, key.name)
		})
		if !found {
			at, missing = -1, true
		}
		k.index[key] = at
	}
	if !missing {
		return
	}
	// It has gone, or the list is in another order.
	for i := range now {
		key := podName{now[i].Namespace, now[i].Name}
		if _, asked := k.index[key]; asked {
			k.index[key] = i
		}
	}
}

// object is an attachment's Pod, if the cluster has it.
func (k *keeper) object(now []state.Pod, a state.Attachment) (state.Pod, bool) {
	if i, ok := k.index[podName{a.PodNamespace, a.PodName}]; ok && i >= 0 && a.Of(now[i]) {
		return now[i], true
	}
	return state.Pod{}, false
}

// predecessor is what the agent before this one knew of the attachments that have no object.
func (k *keeper) predecessor(now []state.Pod, attachments []state.Attachment) map[attached]state.Pod {
	out := map[attached]state.Pod{}
	var known []state.Pod
	asked := k.recall == nil
	for _, a := range attachments {
		if _, there := k.object(now, a); there || a.PodName == "" {
			continue
		}
		if !asked {
			known, asked = k.recall(), true
		}
		if i := slices.IndexFunc(known, a.Of); i >= 0 {
			out[attached{a.PodNamespace, a.PodName, a.PodUID}] = known[i]
		}
	}
	return out
}
