package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// tunnelNeighbours tells userspace Open vSwitch the MACs behind which the other nodes
// are. It would find them itself, and lose the first packet to each: its tunnels
// send an ARP request in place of the packet. (The kernel's datapath leaves this
// to the kernel.)
type tunnelNeighbours struct {
	ovs appctl.Client
	// told is what the switch of this connection knows from us, and when it was told.
	told       map[netip.Addr]told
	connection uint64
}

type told struct {
	mac string
	at  time.Time
}

// retell is shorter than Open vSwitch keeps a neighbour (15 minutes).
const retell = time.Minute

// keep tells what is new. Connection is another number for each start of the switch.
func (n *tunnelNeighbours) keep(ctx context.Context, s state.State, connection uint64) error {
	if s.Facts.Datapath != "netdev" {
		return nil
	}
	if n.told == nil || n.connection != connection {
		n.told, n.connection = map[netip.Addr]told{}, connection
	}
	var peers []netip.Addr
	for _, p := range s.Nodes {
		if a := render.TunnelAddress(p, s); p.Name != s.Node && a.IsValid() {
			peers = append(peers, a)
		}
	}
	hops, err := host.Hops(peers)
	errs := []error{err}
	for _, h := range hops {
		if t, ok := n.told[h.Address]; ok && t.mac == h.MAC.String() && time.Since(t.at) < retell {
			continue
		}
		if _, err := n.ovs.Call(ctx, "tnl/neigh/set", h.Device, h.Address.String(), h.MAC.String()); err != nil {
			errs = append(errs, err)
			continue
		}
		n.told[h.Address] = told{h.MAC.String(), time.Now()}
	}
	return errors.Join(errs...)
}
