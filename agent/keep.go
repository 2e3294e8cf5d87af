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
	last := make(map[attached]state.Pod, len(attachments))
	var gone []state.Pod
	for _, a := range attachments {
		key := attached{a.PodNamespace, a.PodName, a.PodUID}
		if _, done := last[key]; done || a.PodName == "" {
			continue
		}
		i, there := k.index[a.PodNamespace+"/"+a.PodName]
		if there = there && (now[i].UID == a.PodUID || now[i].UID == "" || a.PodUID == ""); there {
			last[key] = now[i]
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
