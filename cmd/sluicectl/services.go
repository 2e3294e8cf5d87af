package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
)

func servicesCommand(client func() *api.Client) *cobra.Command {
	var files []string
	var node, output string
	cmd := &cobra.Command{
		Use:   "services [SERVICE] [-f DIR|FILE --node NAME]",
		Short: "Services with virtual addresses: which backends this node's clients are given, and why",
		Long: "Services with virtual addresses, or one (NAMESPACE/NAME): which backends a node's clients are given, and\n" +
			"why or why not.\n\n" +
			"On a running node with how many new connections each backend has been given since its flows were put\n" +
			"in (of UDP: sockets that were not known). With -f and --node, from YAML alone: no root, no Open vSwitch,\n" +
			"no agent.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := reportServices(cmd.Context(), client(), files, node, args)
			if err != nil {
				return err
			}
			return printReport(cmd.OutOrStdout(), output, report)
		},
	}
	outputFlag(cmd, &output, "json")
	filesFlag(cmd, &files)
	cmd.Flags().StringVar(&node, "node", "", "name of the node, with -f")
	return cmd
}

// servicesReport is what the command tells.
type servicesReport struct {
	Node     string        `json:"node"`
	Services []serviceLine `json:"services"`
}

type serviceLine struct {
	// Service is namespace/name.
	Service string        `json:"service"`
	Ports   []servicePort `json:"ports"`
	// Lost are addresses and ports that it claims, and another Service has.
	Lost []lostAddress `json:"lost,omitempty"`
}

type lostAddress struct {
	Address string `json:"address"`
	Holder  string `json:"holder"`
}

// servicePort is a port at its addresses of one family.
type servicePort struct {
	Name     string         `json:"name,omitempty"`
	Protocol state.Protocol `json:"protocol"`
	// Addresses are the virtual ones, with the port.
	Addresses []netip.AddrPort `json:"addresses"`
	// Topology says whether the backends' hints are used, and why not.
	Topology string `json:"topology,omitempty"`
	// Affinity is for how many seconds a client's new connections go to the backend of its last.
	Affinity int32            `json:"affinity,omitempty"`
	Backends []serviceBackend `json:"backends"`
}

type serviceBackend struct {
	Address netip.AddrPort `json:"address"`
	Pod     string         `json:"pod,omitempty"`
	Node    string         `json:"node,omitempty"`
	Used    bool           `json:"used"`
	Why     string         `json:"why"`
	// Connections are those that it has been given; nil where no switch is asked.
	Connections *uint64 `json:"connections,omitempty"`
}

func reportServices(ctx context.Context, client *api.Client, files []string, node string, args []string) (servicesReport, error) {
	only := ""
	if len(args) > 0 {
		if only = strings.TrimPrefix(args[0], "svc/"); !strings.Contains(only, "/") {
			only = "default/" + only
		}
	}
	s, counters, err := servicesState(ctx, client, files, node)
	if err != nil {
		return servicesReport{}, err
	}
	result := service.Resolve(s)
	report := servicesReport{Node: s.Node, Services: []serviceLine{}}
	for _, svc := range result.Services {
		if only == "" || svc.Name() == only {
			report.Services = append(report.Services, lineOf(svc, result, counters))
		}
	}
	if only != "" && len(report.Services) == 0 {
		return report, fmt.Errorf("there is no Service %s with a virtual address", only)
	}
	return report, nil
}

// servicesState is the state that is asked about, and what the switch has counted, if one is asked.
func servicesState(ctx context.Context, client *api.Client, files []string, node string) (s state.State, counters *counters, err error) {
	if len(files) > 0 {
		c, err := manifests.Read(files...)
		if err != nil {
			return s, nil, err
		}
		s = c.State(node)
		if _, ok := s.Self(); !ok {
			return s, nil, noNode(node, files, s.Nodes)
		}
		return s, nil, nil
	}
	if s, err = runningState(ctx, client); err != nil {
		return s, nil, fmt.Errorf("%w\n-f DIR|FILE asks YAML alone, without an agent", err)
	}
	counters, err = readCounters(ctx, client, s)
	return s, counters, err
}

// counters are what a switch has counted: packets of buckets, and of the flows of the table backends.
type counters struct {
	groups map[uint32]map[uint32]uint64
	flows  map[string]uint64
}

func readCounters(ctx context.Context, client *api.Client, s state.State) (*counters, error) {
	c := counters{flows: map[string]uint64{}}
	var err error
	if c.groups, err = client.Groups(ctx); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.Services, func(o state.Service) bool { return o.Affinity > 0 }) {
		return &c, nil
	}
	list, err := client.Flows(ctx)
	for _, f := range list {
		if f.Table == int(flows.Backends) {
			c.flows[f.Text] = f.Packets
		}
	}
	return &c, err
}

// given is how many connections to a port's virtual addresses a backend was given.
func (c counters) given(p service.Port, b service.Backend, givers map[service.Translation][]service.Giver) (n uint64) {
	seen := map[service.Giver]bool{}
	for _, a := range p.Addresses {
		for _, g := range givers[service.Translation{Frontend: service.Frontend{Address: a, Protocol: p.Protocol, Port: p.Port}, Backend: b.Address}] {
			if !seen[g] { // several addresses have one group
				seen[g] = true
				n += c.groups[g.Group][g.Bucket] + c.flows[g.Flow]
			}
		}
	}
	return n
}

func lineOf(svc *service.Service, all service.Result, counters *counters) serviceLine {
	line := serviceLine{Service: svc.Name(), Ports: []servicePort{}}
	givers := svc.Givers(all.Numbers)
	for _, p := range svc.Ports {
		port := servicePort{Name: p.Name, Protocol: p.Protocol, Topology: p.Topology, Affinity: p.Affinity, Backends: []serviceBackend{}}
		for _, a := range p.Addresses {
			port.Addresses = append(port.Addresses, netip.AddrPortFrom(a, p.Port))
		}
		for _, b := range p.Backends {
			backend := serviceBackend{Address: b.Address, Node: b.Endpoint.Node, Used: b.Used(), Why: b.Reason.String()}
			if b.Endpoint.PodName != "" {
				backend.Pod = b.Endpoint.PodNamespace + "/" + b.Endpoint.PodName
			}
			if counters != nil && b.Used() && len(p.Addresses) > 0 {
				n := counters.given(p, b, givers)
				backend.Connections = &n
			}
			port.Backends = append(port.Backends, backend)
		}
		line.Ports = append(line.Ports, port)
	}
	for _, c := range all.Conflicts {
		if c.On == claims.OnServiceAddress && c.Loser.String() == svc.Name() {
			line.Lost = append(line.Lost, lostAddress{c.Key, c.Winner.String()})
		}
	}
	return line
}

func (r servicesReport) print(out io.Writer) error {
	if len(r.Services) == 0 {
		_, err := fmt.Fprintf(out, "node %s: there is no Service with a virtual address\n", r.Node)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tADDRESS\tBACKEND\tPOD\tNODE\tCONNECTIONS\tUSED")
	var notes []string
	for _, s := range r.Services {
		for _, p := range s.Ports {
			p.print(w, s.Service)
			if p.Topology != "" && len(p.Addresses) > 0 {
				notes = append(notes, fmt.Sprintf("%s %s: %s", s.Service, p.address(), p.Topology))
			}
			if p.Affinity > 0 && len(p.Addresses) > 0 {
				notes = append(notes, fmt.Sprintf("%s %s: a client stays with its backend for %d s after each new connection", s.Service, p.address(), p.Affinity))
			}
		}
		for _, l := range s.Lost {
			notes = append(notes, fmt.Sprintf("%s does not have %s: it is %s's, which comes first", s.Service, l.Address, l.Holder))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(out, n)
	}
	return nil
}

// address is the virtual ones as they stand in the table.
func (p servicePort) address() string {
	var out []string
	for _, a := range p.Addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, ",") + "/" + string(p.Protocol)
}

func (p servicePort) print(w io.Writer, name string) {
	if len(p.Addresses) == 0 {
		return // lost, as a note says
	}
	if len(p.Backends) == 0 {
		fmt.Fprintf(w, "%s\t%s\tnone: refused\t\t\t\t\n", name, p.address())
	}
	for _, b := range p.Backends {
		used := "yes"
		switch {
		case !b.Used:
			used = "no: " + b.Why
		case b.Why != service.Ready.String():
			used = "yes: " + b.Why
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, p.address(), b.Address, cmp.Or(b.Pod, "-"), cmp.Or(b.Node, "-"), counted(b.Connections), used)
	}
}
