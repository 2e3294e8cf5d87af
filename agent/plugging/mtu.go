package plugging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// followMTU gives the pods whose MTU is the node's what that is by now: the underlay's may have
// changed, or the first tunnel over IPv6 has come. What was asked for in the configuration stays,
// and so does what somebody else has set in the pod.
func (p *Plugger) followMTU(ctx context.Context, ovsdb *db.Client, settled []lease.Lease) error {
	_, s, err := p.node.Ready()
	if err != nil {
		return nil //nolint:nilerr // the passes say why
	}
	mtu := render.MTU(s)
	if mtu == 0 {
		return nil
	}
	odd := map[lease.Key]string{}
	var errs []error
	for _, l := range settled {
		if l.Layer2.Is() || l.MTUAsked || l.MTU == 0 || l.MTU == mtu {
			continue
		}
		if mtu < render.LeastIPv6MTU && slices.ContainsFunc(l.Addresses, netip.Addr.Is6) {
			continue // the kernel would take the pod's IPv6 away; status says so
		}
		err := p.attach.undisturbed(l, func() error { return p.changeMTU(ctx, ovsdb, l, mtu) })
		if errors.Is(err, plug.ErrOtherMTU) {
			odd[l.Key()] = fmt.Sprintf("%s (%s): %v; this node's pods have %d", l.Holder(), l.Port, err, mtu)
			continue
		}
		if !errors.As(err, new(*plug.NetNSError)) && !errors.Is(err, plug.ErrNoInterface) { // it is going
			errs = append(errs, err)
		}
	}
	p.mu.Lock()
	p.oddMTUs = odd
	p.mu.Unlock()
	return errors.Join(errs...)
}

func (p *Plugger) changeMTU(ctx context.Context, ovsdb *db.Client, l lease.Lease, mtu int) error {
	if err := plug.ChangeMTU(l.Port, l.NetNS, l.IfName, l.MTU, mtu); err != nil {
		return err
	}
	p.log.Info("a pod's MTU follows the node's", "holder", l.Holder(), "port", l.Port, "was", l.MTU, "is", mtu)
	l, _ = p.attach.get(l.Key()) // whose key is locked
	l.MTU = mtu
	if err := p.writeRow(ctx, ovsdb, l); err != nil {
		return err // it is tried again: the ends have it already
	}
	p.attach.update(l)
	p.node.Kick()
	return nil
}

// OddMTUs are the pods whose MTU is not the node's and was changed by somebody else, in words.
func (p *Plugger) OddMTUs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Values(p.oddMTUs))
}
