package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/trace"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// switchAnswer is what the node's switch does with a connection.
type switchAnswer struct {
	Node string `json:"node"`
	// Packets are told in the order of trace.Stages; none if neither end is here. A translated connection is
	// remembered as a judged one from its first packet on, and has no older stages.
	Packets []packetAnswer `json:"packets,omitempty"`
	// Elsewhere says which side is judged on another node; empty if none is.
	Elsewhere string `json:"elsewhere,omitempty"`
	// Error says why the switch could not be asked.
	Error string `json:"error,omitempty"`
}

// packetAnswer is what the switch does with one packet.
type packetAnswer struct {
	Stage string `json:"stage"`
	From  string `json:"from"`
	// Sent tells that it leaves the bridge. Last is the table where it does or is dropped, and
	// the reason there.
	Sent bool `json:"sent"`
	// Translated tells that it goes to a virtual address or a host port: the other packets are told of as
	// the backend's address makes them.
	Translated bool   `json:"translated,omitempty"`
	Last       string `json:"last"`
	// Warnings are what the switch says it did otherwise than its flows say.
	Warnings []string `json:"warnings,omitempty"`
	// Allowed is the verdict of the sides that are judged on this node.
	Allowed bool `json:"allowed"`
	// Disagrees says in words how this differs from what the policies say; empty if it does not.
	Disagrees string       `json:"disagrees,omitempty"`
	Steps     []stepAnswer `json:"steps"`
}

// stepAnswer is a flow that the packet met: whose, and what it is for.
type stepAnswer struct {
	Table  string `json:"table"`
	Depth  int    `json:"depth,omitempty"`
	Cookie string `json:"cookie"`
	Owner  string `json:"owner"`
	Words  string `json:"words"`
	// GoesOn tells that the table had nothing to say.
	GoesOn bool `json:"goesOn,omitempty"`
}

// nodeWhy judges by the agent's state, and asks the switch.
func nodeWhy(ctx context.Context, client *api.Client, ovs appctl.Client, args []string) ([]answer, error) {
	c, err := runningPolicies(ctx, client)
	if err != nil {
		return nil, err
	}
	answers, err := c.why(args)
	if err != nil {
		return nil, err
	}
	dump, err := client.Flows(ctx)
	if err != nil {
		return nil, err
	}
	w := newFlowWords(dump)
	for i := range answers {
		answers[i].Switch = c.askSwitch(ctx, ovs, answers[i], w)
	}
	return answers, nil
}

func (c policyContent) askSwitch(ctx context.Context, ovs appctl.Client, a answer, w flowWords) *switchAnswer {
	out := &switchAnswer{Node: c.state.Node, Elsewhere: c.elsewhere(a)}
	ask := verdict.Connection{Source: a.Source, Destination: a.Destination, Protocol: a.Protocol, Port: a.Port}
	allowed := c.allowedHere(a)
	p, err := c.askTranslated(ctx, ovs, a, w)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	if p.Translated {
		out.Packets = append(out.Packets, p)
	}
	if a.Service != nil && a.Service.Refused != "" {
		return out
	}
	for _, p := range trace.Packets(c.state, ask) {
		if len(out.Packets) > 0 && out.Packets[0].Translated && strings.HasPrefix(p.Stage, trace.Older) {
			continue
		}
		text, err := ovs.Call(ctx, "ofproto/trace", append([]string{render.Bridge}, p.Args...)...)
		if err != nil {
			out.Error = err.Error()
			return out
		}
		t, err := trace.Parse(render.Bridge, text)
		if err != nil {
			out.Error = err.Error()
			return out
		}
		out.Packets = append(out.Packets, tell(p, t, allowed, w.steps(t, a.Verdict)))
	}
	return out
}

// askTranslated asks about the packet that opens a connection to an address that the switch translates. The
// zero answer: it does not.
func (c policyContent) askTranslated(ctx context.Context, ovs appctl.Client, a answer, w flowWords) (packetAnswer, error) {
	switch {
	case a.Service != nil:
		return c.askService(ctx, ovs, a, w)
	case a.HostPort != nil:
		return c.askHostPort(ctx, ovs, a, w)
	}
	return packetAnswer{}, nil
}

// here tells whether an address is that of what is plugged in here.
func (c policyContent) here(address netip.Addr) bool {
	_, ok := trace.Local(c.state, address)
	return ok
}

// elsewhere names the side that another node judges.
func (c policyContent) elsewhere(a answer) string {
	source, destination := c.here(a.Source), c.here(a.Destination)
	switch {
	case destination && !source && a.Verdict.Egress.Pod != "":
		return "egress of " + a.Verdict.Egress.Pod
	case source && !destination && a.Verdict.Ingress.Pod != "":
		return "ingress of " + a.Verdict.Ingress.Pod
	}
	return ""
}

// allowedHere is the verdict of the sides that are judged on this node: each end's is where its
// pod is plugged in.
func (c policyContent) allowedHere(a answer) bool {
	return (a.Verdict.Egress.Allowed || !c.here(a.Source)) && (a.Verdict.Ingress.Allowed || !c.here(a.Destination))
}

// tell says in words what became of a packet.
func tell(p trace.Packet, t trace.Trace, allowed bool, steps []stepAnswer) packetAnswer {
	out := packetAnswer{Stage: p.Stage, From: p.From, Sent: len(t.Outputs) > 0, Warnings: t.Warnings, Allowed: allowed, Steps: steps}
	for _, s := range steps {
		if s.Depth == 0 {
			out.Last = fmt.Sprintf("%s: %s: %s", s.Table, s.Owner, s.Words)
		}
	}
	last := t.Last()
	switch judged := last.Table >= flows.EgressAdmin; {
	case t.Judged() && !allowed:
		out.Disagrees = "the policies do not allow it, and the switch lets it through"
	case judged && !t.Judged() && allowed:
		out.Disagrees = "the policies allow it, and the switch drops it"
	}
	return out
}

func (a switchAnswer) print(w io.Writer) {
	switch {
	case a.Error != "":
		fmt.Fprintf(w, "  switch of node %s: cannot be asked: %s\n", a.Node, strings.TrimSpace(a.Error))
		return
	case len(a.Packets) == 0:
		fmt.Fprintf(w, "  switch of node %s: not asked: neither end is plugged in here\n", a.Node)
		return
	}
	for _, p := range a.Packets {
		stage, steps := p.Stage+" packet", p.Steps
		if later, older := strings.CutPrefix(p.Stage, trace.Older); older {
			stage = later + " packet of a connection older than the first policy"
			if a.fares(later, steps) {
				steps = nil
			}
		}
		what := "drops it in"
		if p.Sent {
			what = "sends it in"
		}
		if p.Translated {
			what = "looks the destination up in"
		}
		fmt.Fprintf(w, "  switch of node %s: %s %s: %s %s\n", a.Node, stage, p.From, what, p.Last)
		for _, s := range steps {
			if !s.GoesOn {
				fmt.Fprintf(w, "    %s%-16s %s: %s\n", strings.Repeat("  ", s.Depth), s.Table, s.Owner, s.Words)
			}
		}
		for _, warning := range p.Warnings {
			fmt.Fprintf(w, "    the switch says: %s\n", warning)
		}
		switch {
		case p.Disagrees != "":
			fmt.Fprintf(w, "    DISAGREES: %s\n", p.Disagrees)
		case p.Allowed && !p.Sent && !p.Translated:
			fmt.Fprintf(w, "    that is no policy's doing\n")
		}
	}
	if a.Elsewhere != "" {
		fmt.Fprintf(w, "  %s is judged by the switch of its own node: ask there, too\n", a.Elsewhere)
	}
}

// fares tells whether these are the steps of a stage's packet.
func (a switchAnswer) fares(stage string, steps []stepAnswer) bool {
	return slices.ContainsFunc(a.Packets, func(p packetAnswer) bool { return p.Stage == stage && slices.Equal(p.Steps, steps) })
}

// troubles is an error if a switch could not be asked, or does otherwise than the policies say.
func troubles(answers []answer) error {
	for _, a := range answers {
		if a.Switch == nil {
			continue
		}
		if a.Switch.Error != "" {
			return errors.New("the switch could not be asked: --ovs-rundir says where it is, and it is root's")
		}
		for _, p := range a.Switch.Packets {
			if p.Disagrees != "" {
				return errors.New("the switch does otherwise than the policies say: see `sluicectl status` (is a change on its way?) and `sluicectl check`")
			}
		}
	}
	return nil
}
