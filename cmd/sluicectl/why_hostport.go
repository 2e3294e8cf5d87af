package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// hostPortAnswer is what a host port makes of a connection to its node.
type hostPortAnswer struct {
	Node string `json:"node"`
	// Address and Port are the node's that the client speaks to.
	Address  netip.Addr     `json:"address"`
	Port     uint16         `json:"port"`
	Protocol state.Protocol `json:"protocol"`
	// Pod is whom it leads to, empty for a container that is no pod; To is its address and port.
	Pod string         `json:"pod,omitempty"`
	To  netip.AddrPort `json:"to"`
	// By says what translates it.
	By string `json:"by"`
}

// lead follows a connection to a host port of a node's to the pod; any other stays as it is.
func (c policyContent) lead(a answer) answer {
	l, ok := verdict.Lead(c.state, verdict.Connection{Source: a.Source, Destination: a.Destination, Protocol: a.Protocol, Port: a.Port})
	if !ok {
		return a
	}
	by := "the nftables table inet sluice of node " + l.Node
	if node := c.switchOf(a.Source); node != "" {
		by = "the switch of node " + node
	}
	a.HostPort = &hostPortAnswer{Node: l.Node, Address: a.Destination, Port: a.Port, Protocol: a.Protocol, Pod: l.Pod, To: l.To, By: by}
	a.Destination, a.Port = l.To.Addr(), l.To.Port()
	return a
}

// switchOf is the node whose switch hears first what an address sends, empty for what is no pod's.
func (c policyContent) switchOf(source netip.Addr) string {
	if c.here(source) {
		return c.state.Node
	}
	for _, p := range c.state.Pods {
		if !p.HostNetwork && !p.Finished && slices.Contains(p.Addresses, source) {
			return p.Node
		}
	}
	return ""
}

func (h hostPortAnswer) words() string {
	pod := h.Pod
	if pod == "" {
		pod = "a container that is no pod"
	}
	return fmt.Sprintf("%s/%s of node %s leads to %s (%s), translated by %s", netip.AddrPortFrom(h.Address, h.Port), h.Protocol, h.Node, pod, h.To, h.By)
}

// askHostPort asks the switch what it does with the packet that opens a connection to a host port. What no pod
// sends comes to it as the host has translated it.
func (c policyContent) askHostPort(ctx context.Context, ovs appctl.Client, a answer, w flowWords) (packetAnswer, error) {
	open := verdict.Connection{Source: a.Source, Destination: a.HostPort.Address, Protocol: a.Protocol, Port: a.HostPort.Port}
	return c.askTranslation(ctx, ovs, open, flows.RuleHostPort, w)
}
