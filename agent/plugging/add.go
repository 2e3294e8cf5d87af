package plugging

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// add plugs a cable in, in one pass: what it can do at the same time it does at the
// same time. Whatever fails, nothing is left behind.
func (p *Plugger) add(ctx context.Context, req *wire.Request, parts *phases) (any, error) {
	r, err := attachment(req)
	if err != nil {
		return nil, err
	}
	if _, err := previous(r.conf); err != nil {
		return nil, err
	}
	if r.conf.Layer2.Is() {
		return p.addLayer2(ctx, r, req, parts)
	}
	key := r.lease.Key()
	if !p.attach.lock(ctx.Done(), key) {
		return nil, tryAgain("gave up while another request for %s was under way", key)
	}
	defer p.attach.unlock(key)
	if old, ok := p.attach.get(key); ok {
		return nil, types.NewError(types.ErrInternal, fmt.Sprintf("%s is already attached: interface %s has address %v on port %s; DEL it first",
			old.Holder(), old.IfName, old.Addresses, old.Port), "")
	}
	p.knowPod(ctx, r.lease, parts)
	ovsdb, s, err := p.node.Ready()
	if err != nil {
		return nil, tryAgain("%v", err)
	}
	end := parts.begin("reserve")
	l, d, err := p.reserve(ovsdb, s, r, req)
	end()
	if err != nil {
		return nil, err
	}
	l, err = p.plug(ctx, ovsdb, s, l, parts)
	if err != nil {
		return nil, err
	}
	return result(r.conf, l, d)
}

// knowBound is how long an ADD waits for the API server to tell of its Pod.
const knowBound = time.Second

// knowPod sees to it that the pass of this ADD knows the Pod, where there is
// somebody to ask. If it cannot be had, the ADD goes on with what is known: a pod must not wait for
// an API server that is away, and the watch brings the Pod.
func (p *Plugger) knowPod(ctx context.Context, l lease.Lease, parts *phases) {
	if l.PodName == "" {
		return
	}
	defer parts.begin("pod object")()
	ctx, cancel := context.WithTimeout(ctx, knowBound)
	defer cancel()
	if err := p.node.Know(ctx, l.PodNamespace, l.PodName, l.PodUID); err != nil {
		p.log.Warn("going on without the Pod object", "pod", l.PodNamespace+"/"+l.PodName, "error", err)
	}
}

// plug makes the cable, its port and its flows, or takes all of it back.
func (p *Plugger) plug(ctx context.Context, ovsdb *db.Client, s state.State, l lease.Lease, parts *phases) (_ lease.Lease, err error) {
	spec, err := cableSpec(s, l)
	if err != nil {
		p.attach.gone(l.Key())
		return l, err
	}
	var cable *plug.Cable
	rowFirst, rowed := p.rowFirst(l), false
	defer func() {
		if err != nil {
			err = errors.Join(err, p.unplugFailed(ovsdb, cable, rowed, l))
			return
		}
		cable.Close()
	}()
	row := func(ctx context.Context) error {
		rowed = true
		return p.addPort(ctx, ovsdb, l, parts)
	}
	var port db.Port
	g, gctx := errgroup.WithContext(ctx)
	// The port's number is settled, so the flows need not wait for the port.
	g.Go(func() error {
		defer parts.begin("flows")()
		return p.flowsIn(gctx)
	})
	g.Go(func() (err error) {
		if rowFirst {
			if err := row(gctx); err != nil {
				return err
			}
		}
		end := parts.begin("cable")
		cable, err = p.createCable(gctx, spec)
		end()
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer parts.begin("pod")()
			if err := cable.Label(); err != nil {
				return err
			}
			return cable.Configure(gctx)
		})
		wait := ovsdb.WaitNewPort
		if !rowFirst {
			wait = ovsdb.WaitPort
			if err := row(gctx); err != nil {
				return err
			}
		}
		defer parts.begin("port")()
		port, err = wait(gctx, render.Bridge, l.Port)
		return err
	})
	if err := g.Wait(); err != nil {
		return l, cniError(err)
	}
	if got := uint32(port.OFPort); got != l.OFPort {
		l.OFPort = got
		p.attach.update(l)
		if err := p.flowsIn(ctx); err != nil {
			return l, cniError(err)
		}
	}
	if err := p.node.Refused(render.AttachmentName(l.Attachment)); err != nil {
		return l, cniError(err)
	}
	if err := p.hostPortsIn(ctx, l, parts); err != nil {
		return l, cniError(err)
	}
	if err := ctx.Err(); err != nil {
		return l, tryAgain("plugged in too late: %v", context.Cause(ctx))
	}
	p.attach.plugged(l)
	return l, nil
}

// flowsIn returns when the node's flows are those of its attachments. Whatever keeps
// them may be better soon.
func (p *Plugger) flowsIn(ctx context.Context) error {
	if err := p.node.Sync(ctx); err != nil {
		return tryAgain("the flows are not in place: %v", err)
	}
	return nil
}

// manyPorts is from how many attachments on an ADD that comes alone writes the row before
// it makes the cable. Open vSwitch goes through all its ports, twice, for each link and
// for each row that is news to it, and news that comes meanwhile waits. With the row first
// both are one piece of news, if going through the ports takes longer than making
// the cable; else the switch finds no device yet, and begins again when there is one.
const manyPorts = 64

// rowFirst tells whether the lease's row is to be written before its cable is made.
func (p *Plugger) rowFirst(l lease.Lease) bool {
	if attached, alone := p.attach.around(l); !alone || attached < manyPorts {
		return false
	}
	_, err := plug.Find(l.Port) // what an earlier ADD left behind must not become the port
	return errors.Is(err, plug.ErrNoInterface)
}

// addPort makes the host's end a port, which has no number yet.
func (p *Plugger) addPort(ctx context.Context, ovsdb *db.Client, l lease.Lease, parts *phases) error {
	note := db.BridgeNote{Remove: []string{lease.OwedKey(l.Key())}}
	for _, addr := range l.Addresses {
		note.Remove = append(note.Remove, lease.FreedKey(addr))
	}
	defer parts.begin("row")()
	if err := ovsdb.AddPort(ctx, render.Bridge, portSpec(l), note); err != nil {
		return fmt.Errorf("add port %s to bridge %s: %w", l.Port, render.Bridge, err)
	}
	return nil
}

// createCable makes the veth; one that an ADD left behind when it was cut short is
// taken away first: the key is ours alone, and no row knows it. Where the end of a cable
// whose DEL has answered is still in its place, that is waited for.
func (p *Plugger) createCable(ctx context.Context, spec plug.Spec) (*plug.Cable, error) {
	p.attach.vacant(ctx, spec.NetNS, spec.IfName)
	cable, err := plug.Create(ctx, spec)
	if !errors.Is(err, plug.ErrHostNameTaken) {
		return cable, err
	}
	p.log.Info("a cable that an earlier ADD left behind is taken away", "port", spec.HostName)
	if err := plug.Remove(spec.HostName); err != nil {
		return nil, err
	}
	return plug.Create(ctx, spec)
}

func cableSpec(s state.State, l lease.Lease) (plug.Spec, error) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return plug.Spec{}, err
	}
	spec := plug.Spec{
		HostName: l.Port, Alias: l.Alias(), NetNS: l.NetNS, IfName: l.IfName,
		MAC: mac, HostMAC: render.HostMAC(mac), MTU: l.MTU, Addresses: l.Addresses, RouterMAC: render.RouterMAC,
		ChecksumOffloadOff: s.Facts.Datapath == "netdev", Limit: ownLimit(l),
	}
	for _, addr := range l.Addresses {
		spec.Routers = append(spec.Routers, render.RouterFor(addr))
	}
	return spec, nil
}

func portSpec(l lease.Lease) db.PortSpec {
	spec := db.PortSpec{Name: l.Port, OFPortRequest: int(l.OFPort), ExternalIDs: l.ExternalIDs(), Limit: switchLimit(l)}
	if l.Layer2.Is() { // the number is the bridge's matter
		spec.OFPortRequest, spec.VLANs = 0, layer2VLANs(l)
	}
	return spec
}

// undoBound is how long taking back a failed ADD may take; the request's own time
// may be over.
const undoBound = 10 * time.Second

// unplugFailed takes a failed ADD back: row and cable (if there were any), address, flows.
func (p *Plugger) unplugFailed(ovsdb *db.Client, cable *plug.Cable, rowed bool, l lease.Lease) error {
	defer p.node.Kick()
	defer p.attach.gone(l.Key())
	var errs []error
	if cable != nil {
		errs = append(errs, cable.Rollback())
	}
	if !rowed {
		return errors.Join(errs...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoBound)
	defer cancel()
	if _, err := ovsdb.DeletePort(ctx, render.Bridge, l.Port, db.BridgeNote{}); err != nil {
		// The row may be there; without its cable it is collected when OVSDB is back.
		errs = append(errs, fmt.Errorf("take back port %s: %w", l.Port, err))
	}
	return errors.Join(errs...)
}
