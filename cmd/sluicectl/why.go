package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows/endpoint"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

func whyCommand(client func() *api.Client) *cobra.Command {
	var files []string
	var output, runDir string
	cmd := &cobra.Command{
		Use:   "why FROM TO [PORT/PROTOCOL] [-f DIR|FILE]",
		Short: "Whether NetworkPolicies allow a connection, by which rule or why not: on a node, or from YAML alone",
		Long: "Whether NetworkPolicies allow a connection, by which rule or why not.\n\n" +
			"On a running node the agent's state is judged, and the switch is asked by ofproto/trace what it does\n" +
			"with the connection's packets, table by table: with the first, with a later one, with an answer. If the\n" +
			"switch does otherwise than the policies say, that is said, and the exit status is 1.\n\n" +
			"With -f, from YAML alone: no root, no Open vSwitch, no agent.\n\n" +
			"FROM and TO are [namespace/]pod, an IP address, node/name or outside; TO may be svc/namespace/name:\n" +
			"each of the Service's backends that the client's node uses is judged. A host port of a node's is\n" +
			"followed to its pod. The port may stand behind TO too: TO:PORT/PROTOCOL. Without a port it is a ping\n" +
			"that is judged.",
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return badOutput(output, "json")
			}
			answers, err := askWhy(cmd.Context(), client(), appctl.Client{RunDir: runDir}, files, args)
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), answers)
			} else {
				printWhy(cmd.OutOrStdout(), answers)
			}
			return cmp.Or(err, troubles(answers))
		},
	}
	outputFlag(cmd, &output, "json")
	filesFlag(cmd, &files)
	cmd.Flags().StringVar(&runDir, "ovs-rundir", cmp.Or(os.Getenv("OVS_RUNDIR"), appctl.RunDir), "where ovs-vswitchd has its control socket")
	return cmd
}

// askWhy judges, and on a node has the switch say what it does.
func askWhy(ctx context.Context, client *api.Client, ovs appctl.Client, files, args []string) ([]answer, error) {
	if len(files) == 0 {
		return nodeWhy(ctx, client, ovs, args)
	}
	c, err := readPolicies(files)
	if err != nil {
		return nil, err
	}
	return c.why(args)
}

// answer is the verdict for one pair of addresses of the ends.
type answer struct {
	From        string          `json:"from"`
	To          string          `json:"to"`
	Source      netip.Addr      `json:"source"`
	Destination netip.Addr      `json:"destination"`
	Protocol    state.Protocol  `json:"protocol"`
	Port        uint16          `json:"port,omitempty"`
	Verdict     verdict.Verdict `json:"verdict"`
	// Service is whose virtual address was named; the Destination is a backend of its. Nobody's if
	// it is refused: then there is no verdict.
	Service *serviceAnswer `json:"service,omitempty"`
	// HostPort is the node's port that was named; the Destination is the pod that it leads to.
	HostPort *hostPortAnswer `json:"hostPort,omitempty"`
	// Notes say what was taken for granted.
	Notes []string `json:"notes,omitempty"`
	// Switch is what the node's switch does; nil if none was asked.
	Switch *switchAnswer `json:"switch,omitempty"`
}

// ping is the protocol of a connection without a port.
const ping = "ICMP"

// why judges each pair of addresses of one family.
func (c policyContent) why(args []string) ([]answer, error) {
	from, err := endpoint.Parse(args[0])
	if err != nil {
		return nil, err
	}
	to, err := endpoint.Parse(args[1])
	if err != nil {
		return nil, err
	}
	if from.Kind == endpoint.Service {
		return nil, fmt.Errorf("%s is a Service: it opens no connections; name one of its pods", from)
	}
	protocol, port, err := portOf(to, args[2:])
	if err != nil {
		return nil, err
	}
	sources, notes, err := c.addresses(from)
	if err != nil {
		return nil, err
	}
	destinations, more, err := c.addresses(to)
	if err != nil {
		return nil, err
	}
	var out []answer
	for _, s := range sources {
		for _, d := range destinations {
			if s.Is4() != d.Is4() {
				continue
			}
			a := answer{
				From: from.String(), To: to.String(), Source: s, Destination: d, Protocol: protocol, Port: port,
				Notes: append(notes[:len(notes):len(notes)], more...),
			}
			served, virtual := c.serve(a)
			if !virtual {
				served = []answer{c.lead(a)}
			}
			for _, a := range served {
				if a.Service == nil || a.Service.Refused == "" {
					a.Verdict = verdict.Judge(c.state, verdict.Connection{Source: a.Source, Destination: a.Destination, Protocol: a.Protocol, Port: a.Port})
				}
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has %v, %s has %v: no address of the same family", from, sources, to, destinations)
	}
	return out, nil
}

// portOf is the port that is meant, as an argument of its own or behind the endpoint.
func portOf(to endpoint.Endpoint, args []string) (state.Protocol, uint16, error) {
	if len(args) == 0 {
		if to.Port == 0 {
			return ping, 0, nil
		}
		protocol := state.TCP
		if to.Protocol != "" {
			protocol = state.Protocol(strings.ToUpper(to.Protocol))
		}
		return protocol, uint16(to.Port), nil
	}
	if to.Port != 0 {
		return "", 0, errors.New("the port stands twice: behind TO, and by itself")
	}
	number, protocol, _ := strings.Cut(args[0], "/")
	if protocol == "" {
		protocol = "TCP"
	}
	p := state.Protocol(strings.ToUpper(protocol))
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 || p != state.TCP && p != state.UDP && p != state.SCTP {
		return "", 0, fmt.Errorf("%q is no port: expected one like 80/TCP, 53/UDP or 9/SCTP", args[0])
	}
	return p, uint16(port), nil
}

func printWhy(w io.Writer, answers []answer) {
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		port := string(a.Protocol)
		if a.Port != 0 {
			port = fmt.Sprintf("%d/%s", a.Port, a.Protocol)
		}
		refused := a.Service != nil && a.Service.Refused != ""
		outcome := allowed(a.Verdict.Allowed)
		if refused {
			outcome = "refused"
		}
		fmt.Fprintf(w, "%s -> %s %s: %s\n", namedAddress(a.From, a.Source), namedAddress(a.To, a.Destination), port, outcome)
		if a.Service != nil {
			for _, line := range a.Service.words() {
				fmt.Fprintln(w, "  service:", line)
			}
		}
		if a.HostPort != nil {
			fmt.Fprintln(w, "  host port:", a.HostPort.words())
		}
		if !refused {
			printSide(w, "egress of "+a.From, a.Verdict.Egress, state.Egress)
			printSide(w, "ingress of "+a.To, a.Verdict.Ingress, state.Ingress)
		}
		for _, note := range a.Notes {
			fmt.Fprintln(w, "  note:", note)
		}
		if a.Switch != nil {
			a.Switch.print(w)
		}
	}
}

func printSide(w io.Writer, title string, s verdict.Side, d state.Direction) {
	fmt.Fprintf(w, "  %s: %s: %s\n", title, allowed(s.Allowed), s.Reason)
	for _, p := range s.Policies {
		if len(p.Rules) == 0 {
			fmt.Fprintf(w, "    %s has no rule for %s\n", p.Policy, strings.ToLower(string(d)))
		}
		for i, r := range p.Rules {
			word := "no"
			if r.Allows {
				word = "yes"
			}
			fmt.Fprintf(w, "    %s: %s: %s\n", verdict.RuleName{Policy: p.Policy, Direction: d, Index: i}, word, r.Why)
		}
	}
}

func namedAddress(name string, a netip.Addr) string {
	if name == a.String() {
		return name
	}
	return name + " (" + a.String() + ")"
}

func allowed(yes bool) string {
	if yes {
		return "allowed"
	}
	return "dropped"
}
