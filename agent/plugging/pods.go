package plugging

import (
	"fmt"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/lease"
)

// Pods are all attachments, whatever their state, in a stable order.
func (p *Plugger) Pods() []api.PodStatus {
	older := superseded(p.attach.all())
	var out []api.PodStatus
	for _, a := range p.attach.every() {
		l := a.lease
		s := api.PodStatus{
			Network: l.Network, IfName: l.IfName, ContainerID: l.ContainerID, Port: l.Port, OFPort: l.OFPort,
			MAC: l.MAC, NetNS: l.NetNS, IPAM: l.IPAM, Created: time.Unix(0, l.Created), State: a.state, Reason: a.reason,
			Bridge: l.Layer2.Bridge, VLAN: l.Layer2.VLAN, Trunk: l.Layer2.Trunk, Device: l.Layer2.Device,
			IngressRate: l.Rates.Ingress.Bits, EgressRate: l.Rates.Egress.Bits,
		}
		for _, h := range l.HostPorts {
			s.HostPorts = append(s.HostPorts, h.String())
		}
		if l.PodName != "" {
			s.Pod = l.PodNamespace + "/" + l.PodName
		}
		for _, addr := range l.Addresses {
			s.Addresses = append(s.Addresses, addr.String())
		}
		if older[l.Key()] && s.State == api.PodPlugged {
			s.State, s.Reason = api.PodSuperseded, fmt.Sprintf("a newer sandbox of pod %s has its place; it goes by DEL", s.Pod)
		}
		out = append(out, s)
	}
	return out
}

// standing is an attachment and how things stand with it.
type standing struct {
	lease         lease.Lease
	state, reason string
}

// every are all attachments, also those that are leaving.
func (t *attachments) every() []standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []standing
	for _, l := range sortedLeases(t.known) {
		s := standing{lease: l, state: api.PodPlugged, reason: t.orphans[l.Key()]}
		switch {
		case t.leaving[l.Key()]:
			s.state, s.reason = api.PodLeaving, ""
		case t.plugging[l.Key()]:
			s.state, s.reason = api.PodPlugging, ""
		case s.reason != "":
			s.state = api.PodOrphan
		}
		out = append(out, s)
	}
	return out
}
