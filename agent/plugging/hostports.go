package plugging

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// hostPorts are the node's ports that the runtime asks for.
func hostPorts(mappings []conf.PortMapping) []state.HostPort {
	var out []state.HostPort
	for _, m := range mappings {
		out = append(out, state.HostPort{
			Address: m.HostIP, Protocol: state.Protocol(strings.ToUpper(m.Protocol)), Port: m.HostPort, PodPort: m.ContainerPort,
		})
	}
	slices.SortFunc(out, state.CompareHostPorts)
	return out
}

// portHolder is an attachment that has host ports, and who it is in words.
type portHolder struct {
	lease lease.Lease
	who   string
}

// hostPortsFree tells whether the new attachment can have its host ports. One that lives keeps
// its own; one that is on its way out loses them, as the pod that takes its place may
// be plugged in before it has gone.
func (p *Plugger) hostPortsFree(s state.State, l lease.Lease, holders []portHolder) error {
	for _, h := range l.HostPorts {
		if h.Protocol == state.UDP && h.Port == render.TunnelPort(render.Encapsulation(s.Config)) {
			return hostPortRefused(h, "expected another host port than the tunnels'")
		}
		if h.Address.IsValid() && !slices.ContainsFunc(l.Addresses, h.Serves) {
			return hostPortRefused(h, fmt.Sprintf("expected a hostIP of a family of the pod's addresses %v", l.Addresses))
		}
		for _, other := range holders {
			if slices.ContainsFunc(other.lease.HostPorts, h.Overlaps) && !samePlace(l, other.lease) && !p.goes(other.lease) {
				return tryAgain("host port %s is held by %s; it is given as soon as that goes", h.OnNode(), other.who)
			}
		}
	}
	return nil
}

func hostPortRefused(h state.HostPort, expected string) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("runtimeConfig.portMappings: %s, found %s", expected, h), "")
}

// samePlace tells whether two are sandboxes of one pod: the newer is the pod.
func samePlace(a, b lease.Lease) bool {
	return a.PodName != "" && a.PodNamespace == b.PodNamespace && a.PodName == b.PodName && a.PodUID == b.PodUID &&
		a.Network == b.Network && a.IfName == b.IfName
}

// goes tells whether the attachment's pod is on its way out, as far as anybody knows.
func (p *Plugger) goes(l lease.Lease) bool {
	if l.PodName == "" {
		return false
	}
	pod, there, known := p.node.Pod(l.PodNamespace, l.PodName)
	switch {
	case there && l.Of(pod):
		return pod.Deleting || pod.Finished
	case there:
		return true // another has its name
	}
	return known && p.node.KnowsAllPods()
}

// hostPortsIn returns when the host leads its ports to where the attachments say.
func (p *Plugger) hostPortsIn(ctx context.Context, l lease.Lease, parts *phases) error {
	if len(l.HostPorts) == 0 {
		return nil
	}
	defer parts.begin("host ports")()
	if err := p.node.SyncHost(ctx); err != nil {
		return tryAgain("the host ports are not in place: %v", err)
	}
	return nil
}

// hostPortsDiffer holds the host ports against the lease, and what the runtime asks for now.
func (p *Plugger) hostPortsDiffer(ctx context.Context, r request, l lease.Lease) error {
	if asked := r.lease.HostPorts; asked != nil && !slices.Equal(asked, l.HostPorts) {
		return differs("the host ports of "+l.IfName, fmt.Sprint(asked), fmt.Sprint(l.HostPorts))
	}
	if len(l.HostPorts) == 0 {
		return nil
	}
	missing, err := p.node.MissingHostPort(ctx, l.Attachment)
	if err != nil {
		return tryAgain("the host's rules cannot be read: %v", err)
	}
	if missing != "" {
		return differs("the host ports of "+l.IfName, missing, "it does not (nft list table inet sluice)")
	}
	return nil
}
