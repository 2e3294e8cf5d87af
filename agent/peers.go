package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"
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
	ovs   appctl.Client
	kicks chan struct{}

	mu sync.Mutex
	// told is what the switch of this connection knows from us.
	told       map[netip.Addr]told
	connection uint64
	// asked is when a peer's MAC was first asked for.
	asked map[netip.Addr]time.Time
}

type told struct {
	mac string
	at  time.Time
}

const (
	// retell is shorter than Open vSwitch keeps a neighbour (15 minutes).
	retell = time.Minute
	// patience is how long an unresolved peer holds up that the input counts as
	// installed: one that does not answer is away, and must hold up nobody.
	patience = time.Second
	// neighboursLook is how often they are looked at without being told of a change.
	neighboursLook = 3 * time.Second
)

func (n *tunnelNeighbours) init(rundir string) {
	n.ovs.RunDir = rundir
	n.kicks = make(chan struct{}, 1)
	n.told = map[netip.Addr]told{}
	n.asked = map[netip.Addr]time.Time{}
}

// peersOf are the far ends of this node's tunnels, where it is on us to resolve them.
func peersOf(s state.State) []netip.Addr {
	if s.Facts.Datapath != "netdev" {
		return nil
	}
	var out []netip.Addr
	for _, p := range s.Nodes {
		if a := render.TunnelAddress(p, s); p.Name != s.Node && a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// settled tells whether all peers are known to the switch, or have had their time.
func (n *tunnelNeighbours) settled(s state.State, connection uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range peersOf(s) {
		if _, ok := n.told[p]; ok && n.connection == connection {
			continue
		}
		at, asked := n.asked[p]
		if !asked {
			n.asked[p] = time.Now()
		}
		if !asked || time.Since(at) < patience {
			return false
		}
	}
	return true
}

// keep tells what is new. Connection is another number for each start of the switch.
func (n *tunnelNeighbours) keep(ctx context.Context, s state.State, connection uint64) error {
	peers := peersOf(s)
	if len(peers) == 0 {
		return nil
	}
	n.mu.Lock()
	if n.connection != connection {
		n.told, n.connection = map[netip.Addr]told{}, connection
	}
	n.mu.Unlock()
	hops, err := host.Hops(peers)
	errs := []error{err}
	for _, h := range hops {
		n.mu.Lock()
		t, ok := n.told[h.Peer]
		n.mu.Unlock()
		if ok && t.mac == h.MAC.String() && time.Since(t.at) < retell {
			continue
		}
		if _, err := n.ovs.Call(ctx, "tnl/neigh/set", h.Device, h.Address.String(), h.MAC.String()); err != nil {
			errs = append(errs, err)
			continue
		}
		n.mu.Lock()
		n.told[h.Peer] = told{h.MAC.String(), time.Now()}
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

// neighbourLoop keeps the switch's tunnel neighbours.
func (a *Agent) neighbourLoop(ctx context.Context) error {
	ticker := time.NewTicker(neighboursLook)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.neighbours.kicks:
		case <-ticker.C:
		}
		a.mu.Lock()
		s, connection := a.pass.state, a.pass.connection
		a.mu.Unlock()
		before := a.neighbours.settled(s, connection)
		err := a.neighbours.keep(ctx, s, connection)
		if !before && a.neighbours.settled(s, connection) {
			a.kick()
		}
		if err != nil && err.Error() != last && ctx.Err() == nil {
			a.log.Warn("tunnel neighbours are not resolved", "error", err)
			last = err.Error()
		}
	}
}
