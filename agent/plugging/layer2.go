package plugging

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// This file is ADD and DEL on second networks: a port of the operator's bridge, or a
// device of the host's. Locks, leases, GC and collection are those of all attachments; of
// the bridge nothing is touched but our port.

// bridgeOf is the bridge on which the attachment has its port.
func bridgeOf(l lease.Lease) string { return cmp.Or(l.Layer2.Bridge, render.Bridge) }

// addLayer2 plugs in on a second network. Where an IPAM plugin gives addresses it is
// called twice: to prepare the cable, and with what the plugin gave by it.
func (p *Plugger) addLayer2(ctx context.Context, r request, req *wire.Request, parts *phases) (any, error) {
	key := r.lease.Key()
	if !p.attach.lock(ctx.Done(), key) {
		return nil, tryAgain("gave up while another request for %s was under way", key)
	}
	defer p.attach.unlock(key)
	old, there := p.attach.get(key)
	if there && (!old.Incomplete() || req.Prepare || len(req.IPAM) == 0) {
		return nil, types.NewError(types.ErrInternal, fmt.Sprintf("%s is already attached by %s (port %s); DEL it first", old.Holder(), old.IfName, old.Port), "")
	}
	ovsdb, err := p.node.OVSDB()
	if err != nil {
		return nil, tryAgain("%v", err)
	}
	l := old
	if !there {
		if l, err = p.newLayer2(r); err != nil {
			return nil, err
		}
		if l, err = p.prepare(ctx, ovsdb, l, parts); err != nil {
			p.attach.gone(key)
			return nil, cniError(err)
		}
	}
	if req.Prepare {
		return struct{}{}, nil
	}
	result, err := p.complete(ctx, ovsdb, r, req, l)
	if err != nil {
		err = cniError(err)
		if undo := p.unplugHeld(l); undo != nil {
			err = errors.Join(err, undo)
		}
		return nil, err
	}
	return result, nil
}

// newLayer2 enters the new attachment.
func (p *Plugger) newLayer2(r request) (lease.Lease, error) {
	rates, err := p.rates(r)
	if err != nil {
		return lease.Lease{}, err
	}
	return p.attach.reserve(func(held) (lease.Lease, error) {
		l := r.lease
		l.Layer2, l.Rates = r.conf.Layer2, rates
		l.NetNSInode, l.MTU, l.Created = inode(l.NetNS), r.conf.MTU, time.Now().UnixNano()
		if l.MAC = ownMAC(l.Key()).String(); r.conf.Ask.MAC != nil {
			l.MAC = r.conf.Ask.MAC.String()
		} else if r.ask.MAC != nil && l.Layer2.Device == "" {
			l.MAC = r.ask.MAC.String()
		}
		return l, nil
	})
}

// ownMAC is an attachment's own on a network where no address is known beforehand: of its
// whole key, locally administered, in 06:00:00:00:00:00/8.
func ownMAC(k lease.Key) net.HardwareAddr {
	sum := sha256.Sum256([]byte(k.Network + "\x00" + k.ContainerID + "\x00" + k.IfName))
	return append(net.HardwareAddr{0x06}, sum[:5]...)
}

// prepare makes the cable and its port, or moves the device. Frames pass when it returns.
func (p *Plugger) prepare(ctx context.Context, ovsdb *db.Client, l lease.Lease, parts *phases) (lease.Lease, error) {
	if l.Layer2.Device != "" {
		return p.takeDevice(ctx, ovsdb, l)
	}
	bridge, ok := ovsdb.Bridge(l.Layer2.Bridge)
	if !ok {
		return l, tryAgain("bridge: Open vSwitch has no bridge %q: make it (ovs-vsctl add-br %s), or correct \"bridge\"", l.Layer2.Bridge, l.Layer2.Bridge)
	}
	if l.MTU == 0 {
		own, _ := ovsdb.Port(l.Layer2.Bridge, l.Layer2.Bridge)
		l.MTU = cmp.Or(own.MTU, 1500)
	}
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return l, err
	}
	userspace := bridge.DatapathType == "netdev"
	end := parts.begin("cable")
	cable, err := p.createCable(ctx, plug.Spec{
		HostName: l.Port, Alias: l.Alias(), NetNS: l.NetNS, IfName: l.IfName, MAC: mac, HostMAC: render.HostMAC(mac), MTU: l.MTU,
		ChecksumOffloadOff: userspace, Limit: ownLimit(l), Layer2: true,
	})
	end()
	if err != nil {
		return l, err
	}
	if err := cable.Label(); err != nil {
		return l, errors.Join(err, cable.Rollback())
	}
	if l, err = p.join(ctx, ovsdb, cable, l, userspace, parts); err != nil {
		return l, errors.Join(err, p.unjoin(ovsdb, cable, l))
	}
	cable.Close()
	p.attach.update(l)
	return l, nil
}

// join makes the cable a port of its bridge, behind its guard.
func (p *Plugger) join(ctx context.Context, ovsdb *db.Client, cable *plug.Cable, l lease.Lease, userspace bool, parts *phases) (lease.Lease, error) {
	if err := setGuard(l, userspace); err != nil {
		return l, err
	}
	defer parts.begin("port")()
	if err := ovsdb.AddPort(ctx, l.Layer2.Bridge, portSpec(l), db.BridgeNote{}); err != nil {
		return l, err
	}
	port, err := ovsdb.WaitPort(ctx, l.Layer2.Bridge, l.Port)
	if err != nil {
		return l, err
	}
	l.OFPort = uint32(port.OFPort)
	return l, cable.Raise(l.Layer2.Promiscuous)
}

// unjoin takes a failed join back.
func (p *Plugger) unjoin(ovsdb *db.Client, cable *plug.Cable, l lease.Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoBound)
	defer cancel()
	_, err := ovsdb.DeletePort(ctx, l.Layer2.Bridge, l.Port, db.BridgeNote{})
	return errors.Join(err, cable.Rollback())
}

// setGuard puts the spoof guard in place, if there is to be one.
func setGuard(l lease.Lease, userspace bool) error {
	if !l.Layer2.SpoofGuard {
		return nil
	}
	own, err := net.ParseMAC(l.MAC)
	if err != nil {
		return err
	}
	return plug.SetGuard(l.Port, append([]net.HardwareAddr{own}, l.Layer2.Allowed...), userspace)
}

// layer2VLANs are what its port carries.
func layer2VLANs(l lease.Lease) *db.VLANs {
	v := &db.VLANs{Tag: l.Layer2.VLAN, Trunks: l.Layer2.Trunk}
	if len(v.Trunks) > 0 && v.Tag == 0 {
		v.Tag = db.NoTag
	}
	return v
}

// complete sets what the IPAM plugin gave, if there is one, and makes the result.
func (p *Plugger) complete(ctx context.Context, ovsdb *db.Client, r request, req *wire.Request, l lease.Lease) (types.Result, error) {
	given, err := readGiven(r.conf.IPAM, req.IPAM)
	if err != nil {
		return nil, err
	}
	if r.conf.IPAM != "" {
		if err := plug.Dress(ctx, l.NetNS, l.IfName, given.dressing); err != nil {
			return nil, err
		}
		for _, a := range given.dressing.Addresses {
			l.Addresses = append(l.Addresses, a.Addr())
		}
		if err := p.writeRow(ctx, ovsdb, l); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, tryAgain("plugged in too late: %v", context.Cause(ctx))
	}
	p.attach.plugged(l)
	return layer2Result(r.conf, l, given)
}

// writeRow makes the attachment's row and alias what the lease says.
func (p *Plugger) writeRow(ctx context.Context, ovsdb *db.Client, l lease.Lease) error {
	if l.Layer2.Device != "" {
		return ovsdb.SetOpenvSwitchExternalIDs(ctx, map[string]string{l.DeviceKey(): l.DeviceValue()}, nil)
	}
	if _, err := ovsdb.EnsurePort(ctx, bridgeOf(l), portSpec(l), db.BridgeNote{}); err != nil {
		return err
	}
	return plug.SetAlias(l.Port, l.Alias())
}

// unplugHeld takes back a whole attachment whose key the caller holds and goes on holding.
func (p *Plugger) unplugHeld(l lease.Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoBound)
	defer cancel()
	if l.Layer2.Device != "" {
		return p.bringDevice(ctx, l, false)
	}
	ovsdb, err := p.node.OVSDB()
	if err == nil {
		var parts phases
		err = p.release(ctx, ovsdb, l, false, &parts)
	}
	return errors.Join(err, plug.Remove(l.Port), plug.Forget(l.NetNS, l.Addresses))
}
