package hazard

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Hazard is something of others that hurts.
type Hazard struct {
	// What says what is wrong, with names.
	What string `json:"what"`
	// Cure says what to do.
	Cure string `json:"cure"`
}

func (h Hazard) String() string { return h.What + ": " + h.Cure }

// Node is what must work here.
type Node struct {
	// Gateway is the device by which the host reaches pods, Underlay the one that
	// carries the tunnels.
	Gateway, Underlay string
	// Kernel tells that tunnels end in this machine's kernel. (Userspace Open vSwitch
	// takes their packets before the kernel's firewall and sockets see them.)
	Kernel bool
	// Tunnel is where this node's tunnels begin, Peers where they end.
	Tunnel netip.Addr
	Peers  []netip.Addr
	// TunnelPort is the tunnels' UDP port.
	TunnelPort uint16
	// Pods are this node's podCIDRs.
	Pods []netip.Prefix
	// ConfDir is the runtime's directory of network configurations, Conf the name of
	// ours in it; both are empty where the agent does not install it.
	ConfDir, Conf string
}

// Look finds the hazards of the network namespace that it is called in, in a stable
// order. What could not be looked at is one, too.
func Look(ctx context.Context, n Node) []Hazard {
	var out []Hazard
	for _, l := range []struct {
		at   string
		look func(context.Context, Node) ([]Hazard, error)
	}{
		{"the firewall", firewall}, {"reverse path filters", reversePaths},
		{"the tunnel's port", tunnelPort}, {"leftovers of others", leftovers},
	} {
		found, err := l.look(ctx, n)
		slices.SortFunc(found, compare)
		out = append(out, slices.Compact(found)...)
		if err != nil {
			out = append(out, Hazard{fmt.Sprintf("%s could not be looked at: %v", l.at, err), "what is said there is missing here"})
		}
	}
	return out
}

func compare(a, b Hazard) int {
	return slices.Compare([]string{a.What, a.Cure}, []string{b.What, b.Cure})
}
