package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

const (
	tunnelPort  = flows.PortTunnel
	gatewayPort = flows.PortGateway
)

var tableNames = flows.TableNames()

// serve answers one CNI request.
func (a *Agent) serve(ctx context.Context, req *wire.Request) (any, error) {
	began := time.Now()
	var result any
	var err error
	var parts phases
	switch req.Command {
	case wire.Add:
		result, err = a.add(ctx, req, &parts)
	case wire.Del:
		err = a.del(ctx, req, &parts)
	case wire.Status:
		err = a.serving()
	default:
		err = types.NewError(types.ErrInternal, "CNI verb "+req.Command+" is not built yet", "")
	}
	log := a.log.With(
		slog.String("verb", req.Command), slog.String("container", req.ContainerID), slog.String("ifname", req.IfName),
		slog.Duration("took", time.Since(began)), parts.attr(),
	)
	switch {
	case err != nil:
		log.Warn("CNI request failed", "error", err)
	case req.Command != wire.Status:
		log.Info("CNI request done")
	}
	return result, err
}

// serving is nil when ADD can be served: the last pass went well and there are
// addresses to give.
func (a *Agent) serving() error {
	_, s, err := a.ready()
	if err != nil {
		return types.NewError(wire.CodeNotAvailable, "the agent cannot serve: "+err.Error(), "")
	}
	if self, _ := s.Self(); len(self.PodCIDRs) == 0 {
		return types.NewError(wire.CodeNotAvailable, noPodCIDR(a.cfg.Node), "")
	}
	return nil
}

func noPodCIDR(node string) string {
	return fmt.Sprintf("node %q has no pod addresses: its Node object has no spec.podCIDRs "+
		"(run kube-controller-manager with --allocate-node-cidrs and --cluster-cidr, or set spec.podCIDR, or give \"ranges\" in the CNI configuration)", node)
}

// add plugs a cable in, in one pass: what it can do at the same time it does at the
// same time. Whatever fails, nothing is left behind.
func (a *Agent) add(ctx context.Context, req *wire.Request, parts *phases) (types.Result, error) {
	c, l, err := a.attachment(req)
	if err != nil {
		return nil, err
	}
	if !a.attach.lock(ctx.Done(), l.Key()) {
		return nil, tryAgain("gave up while another request for %s was under way", l.Key())
	}
	defer a.attach.unlock(l.Key())
	if old, ok := a.attach.get(l.Key()); ok {
		return nil, types.NewError(types.ErrInternal, fmt.Sprintf("%s is already attached: interface %s has address %v on port %s; DEL it first",
			old.Holder(), old.IfName, old.Addresses, old.Port), "")
	}
	a.knowPod(ctx, l, parts)
	ovsdb, s, err := a.ready()
	if err != nil {
		return nil, err
	}
	end := parts.begin("reserve")
	l, err = a.reserve(ovsdb, s, c, l)
	end()
	if err != nil {
		return nil, err
	}
	l, err = a.plug(ctx, ovsdb, s, c, l, parts)
	if err != nil {
		return nil, err
	}
	return a.result(c, l, s)
}

// knowBound is how long an ADD waits for the API server to tell of its Pod.
const knowBound = time.Second

// knowPod sees to it that the pass of this ADD knows the Pod, where the source can be
// asked. If it cannot be had, the ADD goes on with what is known: a pod must not wait for
// an API server that is away, and the watch brings the Pod.
func (a *Agent) knowPod(ctx context.Context, l lease.Lease, parts *phases) {
	src, ok := a.src.(source.Knower)
	if !ok || l.PodName == "" {
		return
	}
	defer parts.begin("pod object")()
	ctx, cancel := context.WithTimeout(ctx, knowBound)
	defer cancel()
	if err := src.Know(ctx, l.PodNamespace, l.PodName, l.PodUID); err != nil {
		a.log.Warn("going on without the Pod object", "pod", l.PodNamespace+"/"+l.PodName, "error", err)
	}
}

// attachment reads and checks a request.
func (a *Agent) attachment(req *wire.Request) (*conf.Conf, lease.Lease, error) {
	parse := conf.Parse
	if req.Command == wire.Del {
		parse = conf.ParseLoosely // the file may have been edited since the ADD
	}
	c, err := parse(req.Config)
	if err != nil {
		return nil, lease.Lease{}, err
	}
	args, err := conf.ParseArgs(req.Args)
	if err != nil {
		return nil, lease.Lease{}, err
	}
	for _, err := range []error{conf.ValidateContainerID(req.ContainerID), conf.ValidateIfName(req.IfName)} {
		if err != nil {
			return nil, lease.Lease{}, err
		}
	}
	if req.Command == wire.Add {
		if err := conf.ValidateNetNS(req.NetNS); err != nil {
			return nil, lease.Lease{}, err
		}
	}
	return c, lease.Lease{NetNS: req.NetNS, Attachment: state.Attachment{
		Network: c.Name, ContainerID: req.ContainerID, IfName: req.IfName,
		PodNamespace: args.PodNamespace, PodName: args.PodName, PodUID: args.PodUID,
		Port: wire.HostName(c.Name, req.ContainerID, req.IfName),
	}}, nil
}

// ready is OVSDB and the state in force, or error 11: what may be better soon.
func (a *Agent) ready() (*db.Client, state.State, error) {
	ovsdb, err := a.ovsdb()
	if err != nil {
		return nil, state.State{}, tryAgain("%v", err)
	}
	a.mu.Lock()
	p, hostDone, hostErr := a.pass, a.hostDone != "", a.hostErr
	a.mu.Unlock()
	switch {
	case p.err != nil:
		return nil, state.State{}, tryAgain("this node's flows are not in place: %v", p.err)
	case p.state.Node == "":
		return nil, state.State{}, tryAgain("the agent is starting")
	case !hostDone && hostErr != nil:
		return nil, state.State{}, tryAgain("this node's own routes and rules are not in place: %v", hostErr)
	case !hostDone:
		return nil, state.State{}, tryAgain("the agent is starting: this node's own routes and rules are not in place yet")
	}
	return ovsdb, p.state, nil
}

func tryAgain(format string, args ...any) error {
	return types.NewError(types.ErrTryAgainLater, fmt.Sprintf(format, args...), "")
}

// reserve gives the attachment its addresses, MAC and port number, in memory.
func (a *Agent) reserve(ovsdb *db.Client, s state.State, c *conf.Conf, l lease.Lease) (lease.Lease, error) {
	self, _ := s.Self()
	ranges := c.Ranges
	if ranges == nil {
		ranges = self.PodCIDRs
	}
	if len(ranges) == 0 {
		return l, tryAgain("%s", noPodCIDR(a.cfg.Node))
	}
	bridge, ok := ovsdb.Bridge(render.Bridge)
	if !ok {
		return l, tryAgain("bridge %s does not exist: the agent makes it again; see `sluicectl status`", render.Bridge)
	}
	freed := lease.Freed(bridge.ExternalIDs)
	return a.attach.reserve(func(held map[netip.Addr]string) (lease.Lease, error) {
		for _, family := range families(ranges) {
			addr, err := ipam.Pick(family, held, freed, time.Now())
			if errors.Is(err, ipam.ErrExhausted) {
				return l, tryAgain("%v", err)
			}
			if err != nil {
				return l, err
			}
			l.Addresses = append(l.Addresses, addr)
		}
		l.MAC = render.MAC(l.Addresses[0]).String()
		l.OFPort = render.OFPort(l.Addresses[0], self.PodCIDRs)
		l.Created = time.Now().UnixNano()
		return l, nil
	})
}

// families sorts ranges by family, IPv4 first: a pod gets an address of each.
func families(ranges []netip.Prefix) [][]netip.Prefix {
	var v4, v6 []netip.Prefix
	for _, p := range ranges {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	var out [][]netip.Prefix
	for _, f := range [][]netip.Prefix{v4, v6} {
		if len(f) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// plug makes the cable, its port and its flows, or takes all of it back.
func (a *Agent) plug(ctx context.Context, ovsdb *db.Client, s state.State, c *conf.Conf, l lease.Lease, parts *phases) (_ lease.Lease, err error) {
	spec, err := cableSpec(s, c, l)
	if err != nil {
		a.attach.gone(l.Key())
		return l, err
	}
	var cable *plug.Cable
	defer func() {
		if err != nil {
			err = errors.Join(err, a.unplugFailed(ovsdb, cable, l))
			return
		}
		cable.Close()
	}()
	var port db.Port
	g, gctx := errgroup.WithContext(ctx)
	// The port's number is settled, so the flows need not wait for the port.
	g.Go(func() error {
		defer parts.begin("flows")()
		return a.sync(gctx)
	})
	g.Go(func() (err error) {
		end := parts.begin("cable")
		cable, err = a.createCable(gctx, spec)
		end()
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer parts.begin("pod")()
			return cable.Configure(gctx)
		})
		port, err = a.addPort(gctx, ovsdb, l, parts)
		return err
	})
	if err := g.Wait(); err != nil {
		return l, cniError(err)
	}
	if got := uint32(port.OFPort); got != l.OFPort {
		l.OFPort = got
		a.attach.update(l)
		if err := a.sync(ctx); err != nil {
			return l, cniError(err)
		}
	}
	a.attach.plugged(l)
	return l, nil
}

// addPort makes the host's end a port, and returns it when it has its number.
func (a *Agent) addPort(ctx context.Context, ovsdb *db.Client, l lease.Lease, parts *phases) (db.Port, error) {
	note := db.BridgeNote{}
	for _, addr := range l.Addresses {
		note.Remove = append(note.Remove, lease.FreedKey(addr))
	}
	end := parts.begin("row")
	err := ovsdb.AddPort(ctx, render.Bridge, portSpec(l), note)
	end()
	if err != nil {
		return db.Port{}, fmt.Errorf("add port %s to bridge %s: %w", l.Port, render.Bridge, err)
	}
	defer parts.begin("port")()
	return ovsdb.WaitPort(ctx, render.Bridge, l.Port)
}

// createCable makes the veth; one that an ADD left behind when it was cut short is
// taken away first: the key is ours alone, and no row knows it.
func (a *Agent) createCable(ctx context.Context, spec plug.Spec) (*plug.Cable, error) {
	cable, err := plug.Create(ctx, spec)
	if !errors.Is(err, plug.ErrHostNameTaken) {
		return cable, err
	}
	a.log.Info("a cable that an earlier ADD left behind is taken away", "port", spec.HostName)
	if err := plug.Remove(spec.HostName); err != nil {
		return nil, err
	}
	return plug.Create(ctx, spec)
}

func cableSpec(s state.State, c *conf.Conf, l lease.Lease) (plug.Spec, error) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return plug.Spec{}, err
	}
	mtu := c.MTU
	if mtu == 0 {
		mtu = render.MTU(s)
	}
	spec := plug.Spec{
		HostName: l.Port, Alias: "sluice: " + l.Holder() + " " + l.IfName, NetNS: l.NetNS, IfName: l.IfName,
		MAC: mac, MTU: mtu, Addresses: l.Addresses, RouterMAC: render.RouterMAC,
		ChecksumOffloadOff: s.Facts.Datapath == "netdev",
	}
	for _, addr := range l.Addresses {
		spec.Routers = append(spec.Routers, render.RouterFor(addr))
	}
	return spec, nil
}

func portSpec(l lease.Lease) db.PortSpec {
	return db.PortSpec{Name: l.Port, OFPortRequest: int(l.OFPort), ExternalIDs: l.ExternalIDs()}
}

// undoBound is how long taking back a failed ADD may take; the request's own time
// may be over.
const undoBound = 10 * time.Second

// unplugFailed takes a failed ADD back: row, cable (if there was one), address, flows.
func (a *Agent) unplugFailed(ovsdb *db.Client, cable *plug.Cable, l lease.Lease) error {
	if cable == nil {
		a.attach.gone(l.Key())
		a.kick()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoBound)
	defer cancel()
	errs := []error{cable.Rollback()}
	if _, err := ovsdb.DeletePort(ctx, render.Bridge, l.Port, db.BridgeNote{}); err != nil {
		// The row may be there; without its cable it is collected when OVSDB is back.
		errs = append(errs, fmt.Errorf("take back port %s: %w", l.Port, err))
	}
	a.attach.gone(l.Key())
	a.kick()
	return errors.Join(errs...)
}

// cniError gives errors that are somebody's fault their code.
func cniError(err error) error {
	var ns *plug.NetNSError
	switch {
	case errors.As(err, &ns):
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_NETNS: "+err.Error(), "")
	case errors.Is(err, db.ErrNotConnected), errors.Is(err, db.ErrUnknownOutcome), errors.Is(err, db.ErrNoBridge):
		return tryAgain("%v", err)
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// result is what ADD answers, in the version that the configuration asked for.
func (a *Agent) result(c *conf.Conf, l lease.Lease, s state.State) (types.Result, error) {
	mtu := c.MTU
	if mtu == 0 {
		mtu = render.MTU(s)
	}
	r := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, DNS: c.DNS}
	r.Interfaces = []*types100.Interface{
		{Name: l.Port, Mtu: mtu},
		{Name: l.IfName, Mac: l.MAC, Mtu: mtu, Sandbox: l.NetNS},
	}
	for _, addr := range l.Addresses {
		router := net.IP(render.RouterFor(addr).AsSlice())
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(1), Address: *host.IPNet(netip.PrefixFrom(addr, addr.BitLen())), Gateway: router,
		})
		zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if addr.Is6() {
			zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		r.Routes = append(r.Routes, &types.Route{Dst: *host.IPNet(zero), GW: router})
	}
	return r.GetAsVersion(c.CNIVersion)
}
