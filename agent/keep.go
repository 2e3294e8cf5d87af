package agent

import (
	"reflect"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// keeper remembers what was last known of the pods that are plugged in here. A pod is
// what it was until its DEL, also when its object has gone before: no policy lets go of it, and
// none takes hold of it. One pass at a time.
type keeper struct {
	// base is the list that index is of, by namespace/name.
	base  []state.Pod
	index map[string]int
	last  map[attached]state.Pod
	// gone are those that base lacks, whole is base with them.
	gone, whole []state.Pod
	// recall are the pods that this agent's predecessor knew last; it is asked once, if an
	// attachment has no object when the agent starts.
	recall func() []state.Pod
}

// attached names the pod of an attachment.
type attached struct{ namespace, name, uid string }

// pods are the cluster's, and those of the attachments that have gone. The same is the same
// slice.
func (k *keeper) pods(now []state.Pod, attachments []state.Attachment) []state.Pod {
	if k.index == nil || !sameSlice(now, k.base) {
		k.index = make(map[string]int, len(now))
		for i, p := range now {
			k.index[p.Namespace+"/"+p.Name] = i
		}
	}
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
	} else if !sameSlice(now, k.base) || !reflect.DeepEqual(gone, k.gone) {
		k.whole = append(slices.Clone(now), gone...)
	}
	k.base, k.last, k.gone = now, last, gone
	return k.whole
}

// object is an attachment's Pod, if the cluster has it.
func (k *keeper) object(now []state.Pod, a state.Attachment) (state.Pod, bool) {
	if i, ok := k.index[a.PodNamespace+"/"+a.PodName]; ok && a.Of(now[i]) {
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
