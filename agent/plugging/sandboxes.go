package plugging

import "github.com/sluice-cni/sluice/agent/lease"

// superseded are the attachments of sandboxes that are no longer their pod's: a runtime
// that failed to finish one makes another, and deletes the first later. The newest is
// the pod. A Pod of the same name with another uid is another pod.
func superseded(list []lease.Lease) map[lease.Key]bool {
	type place struct{ namespace, name, uid, network, ifname string }
	newest := map[place]lease.Lease{}
	out := map[lease.Key]bool{}
	for _, l := range list {
		if l.PodName == "" {
			continue
		}
		at := place{l.PodNamespace, l.PodName, l.PodUID, l.Network, l.IfName}
		other, ok := newest[at]
		switch {
		case !ok:
			newest[at] = l
		case other.Created < l.Created || other.Created == l.Created && other.ContainerID < l.ContainerID:
			newest[at] = l
			out[other.Key()] = true
		default:
			out[l.Key()] = true
		}
	}
	return out
}
