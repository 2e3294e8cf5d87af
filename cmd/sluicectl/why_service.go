package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/trace"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// mostBackends is of how many of a Service's backends is told.
const mostBackends = 10

// serviceAnswer is what a Service makes of a connection to its virtual address.
type serviceAnswer struct {
	Service string `json:"service"`
	// Virtual is the address and port, Backend who gets the connection and why, of Backends that do.
	Virtual  string `json:"virtual"`
	Backend  string `json:"backend,omitempty"`
	Backends int    `json:"backends"`
	// Refused says why nobody gets it.
	Refused string `json:"refused,omitempty"`
	// Topology says whether the backends' hints are used on the client's node.
	Topology string `json:"topology,omitempty"`

	address netip.Addr
	port    uint16
}

// serve is what becomes of a connection to an address: if a Service has it, an answer for each of its
// backends that the client's node uses, or one that says that it is refused.
func (c policyContent) serve(a answer) (out []answer, virtual bool) {
	s := c.state
	if !c.running() {
		s.Node = c.nodeOf(a.Source)
	}
	var found *service.Service
	for _, o := range service.Resolve(s).Services {
		if slices.Contains(o.Object.ClusterIPs, a.Destination) && (found == nil || hasPort(o, a)) {
			found = o
		}
	}
	if found == nil {
		return nil, false
	}
	told := serviceAnswer{Service: found.Name(), Virtual: a.Destination.String(), address: a.Destination, port: a.Port}
	if a.Port != 0 {
		told.Virtual = service.Frontend{Address: a.Destination, Protocol: a.Protocol, Port: a.Port}.String()
	}
	for _, p := range found.Ports {
		if p.Port != a.Port || p.Protocol != a.Protocol || !slices.Contains(p.Addresses, a.Destination) {
			continue
		}
		told.Topology, told.Backends = p.Topology, len(p.Used())
		for _, b := range p.Backends {
			if !b.Used() || len(out) == mostBackends {
				continue
			}
			one, its := a, told
			its.Backend = fmt.Sprintf("%s (%s)", cmp.Or(podOf(b.Endpoint), b.Address.String()), b.Reason)
			one.Destination, one.Port, one.Service = b.Address.Addr(), b.Address.Port(), &its
			out = append(out, one)
		}
		told.Refused = "none of its backends serves"
	}
	if len(out) > 0 {
		return out, true
	}
	told.Refused = cmp.Or(told.Refused, "it has no such port")
	a.Service = &told
	return []answer{a}, true
}

func hasPort(o *service.Service, a answer) bool {
	return slices.ContainsFunc(o.Ports, func(p service.Port) bool {
		return p.Port == a.Port && p.Protocol == a.Protocol && slices.Contains(p.Addresses, a.Destination)
	})
}

func podOf(e state.Endpoint) string {
	if e.PodName == "" {
		return ""
	}
	return e.PodNamespace + "/" + e.PodName
}

// nodeOf is the node of the pod that has an address, empty if none is known.
func (c policyContent) nodeOf(a netip.Addr) string {
	for _, p := range c.state.Pods {
		if slices.Contains(p.Addresses, a) {
			return p.Node
		}
	}
	return ""
}

// virtualAddresses are a Service's.
func (c policyContent) virtualAddresses(namespace, name string) ([]netip.Addr, error) {
	for _, o := range c.state.Services {
		if o.Namespace == namespace && o.Name == name {
			return o.ClusterIPs, nil
		}
	}
	return nil, fmt.Errorf("there is no Service %s/%s with a virtual address in %s", namespace, name, c.where)
}

// words are those of a Service's answer.
func (s serviceAnswer) words() []string {
	out := []string{fmt.Sprintf("%s of Service %s is given to %s, one of %d backends", s.Virtual, s.Service, s.Backend, s.Backends)}
	if s.Refused != "" {
		out = []string{fmt.Sprintf("%s of Service %s is refused: %s", s.Virtual, s.Service, s.Refused)}
	}
	if s.Topology != "" {
		out = append(out, s.Topology)
	}
	if s.Backends > mostBackends {
		out = append(out, fmt.Sprintf("only %d of its %d backends are told of", mostBackends, s.Backends))
	}
	return out
}

// askService asks the switch what it does with the packet that opens a connection to a virtual address.
func (c policyContent) askService(ctx context.Context, ovs appctl.Client, a answer, w flowWords) (packetAnswer, error) {
	want := flows.RuleServe
	if a.Service.Refused != "" {
		want = flows.RuleRefuse
	}
	return c.askTranslation(ctx, ovs, verdict.Connection{Source: a.Source, Destination: a.Service.address, Protocol: a.Protocol, Port: a.Service.port}, want, w)
}

// askTranslation asks the switch what it does with the packet that opens a connection to an address that is to be
// translated by a rule, as far as the table where it is: what becomes of it then is asked of the address
// that it has then. The zero answer is of a client that is not plugged in here.
func (c policyContent) askTranslation(ctx context.Context, ovs appctl.Client, open verdict.Connection, want flows.Rule, w flowWords) (packetAnswer, error) {
	if !c.here(open.Source) {
		return packetAnswer{}, nil
	}
	packet := trace.Packets(c.state, open)[0]
	text, err := ovs.Call(ctx, "ofproto/trace", append([]string{render.Bridge}, packet.Args...)...)
	if err != nil {
		return packetAnswer{}, err
	}
	t, err := trace.Parse(render.Bridge, text)
	if err != nil {
		return packetAnswer{}, err
	}
	for i, s := range t.Steps {
		if s.Table == flows.Service {
			t.Steps = t.Steps[:i+1]
			break
		}
	}
	out := packetAnswer{Stage: trace.StageNew, From: packet.From, Translated: true, Allowed: true, Steps: w.steps(t, verdict.Verdict{})}
	last := out.Steps[len(out.Steps)-1]
	out.Last = fmt.Sprintf("%s: %s: %s", last.Table, last.Owner, last.Words)
	if rule := t.Last().Cookie.Rule(); t.Last().Table != flows.Service || rule != want {
		out.Disagrees = "expected there: " + want.String()
	}
	return out, nil
}
