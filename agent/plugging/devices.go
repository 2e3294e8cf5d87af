package plugging

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/db"
)

// devices holds the namespaces that devices of the host's are lent to, so that they can be
// brought home whatever becomes of the container.
type devices struct {
	mu   sync.Mutex
	away map[lease.Key]*plug.Away
	// looked is when links on the host were last looked at for such that came home alone.
	looked time.Time
}

func newDevices() *devices { return &devices{away: map[lease.Key]*plug.Away{}} }

func (d *devices) get(key lease.Key) *plug.Away {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.away[key]
}

// put replaces what is held.
func (d *devices) put(key lease.Key, a *plug.Away) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.away[key]; old != nil {
		old.Close()
	}
	if d.away[key] = a; a == nil {
		delete(d.away, key)
	}
}

// device is the lease in the words of package plug.
func device(l lease.Lease) (plug.Device, error) {
	mac, err := net.ParseMAC(l.MAC)
	return plug.Device{
		Name: l.Layer2.Device, Passing: wire.PassingName(l.Network, l.ContainerID, l.IfName), Alias: deviceAlias(l), OwnAlias: l.DeviceAlias,
		MAC: mac, MTU: l.MTU, Up: l.DeviceUp, NetNS: l.NetNS, IfName: l.IfName,
	}, err
}

// deviceAlias is what the device bears while it is away. It is set before there are
// addresses, and stays.
func deviceAlias(l lease.Lease) string {
	l.Addresses = nil
	return l.Alias()
}

// takeDevice moves the device into the container. Its row is written before.
func (p *Plugger) takeDevice(ctx context.Context, ovsdb *db.Client, l lease.Lease) (lease.Lease, error) {
	d, err := device(l)
	if err != nil {
		return l, err
	}
	if err := p.free(ovsdb, l); err != nil {
		return l, err
	}
	switch err := plug.LookAtDevice(&d); {
	case errors.Is(err, plug.ErrNoInterface):
		return l, tryAgain("device: the host has no device %q", l.Layer2.Device)
	case errors.Is(err, plug.ErrInUse):
		return l, types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	case err != nil:
		return l, err
	}
	l.MAC, l.MTU, l.DeviceAlias, l.DeviceUp = d.MAC.String(), d.MTU, d.OwnAlias, d.Up
	d.Alias = deviceAlias(l)
	if err := p.writeRow(ctx, ovsdb, l); err != nil {
		return l, err
	}
	away, err := d.Take(l.Layer2.Promiscuous)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), undoBound)
		defer cancel()
		return l, errors.Join(err, ovsdb.SetOpenvSwitchExternalIDs(ctx, nil, []string{l.DeviceKey()}))
	}
	p.devices.put(l.Key(), away)
	p.attach.update(l)
	return l, nil
}

// free refuses devices that the node itself needs or that somebody has.
func (p *Plugger) free(ovsdb *db.Client, l lease.Lease) error {
	name := l.Layer2.Device
	for _, other := range p.attach.all() {
		if other.Layer2.Device == name && other.Key() != l.Key() {
			return tryAgain("device: %q is lent to %s", name, other.Holder())
		}
	}
	_, s, err := p.node.Ready()
	if err != nil {
		return tryAgain("%v", err)
	}
	needed := name == s.Facts.UnderlayDevice
	for _, bridge := range ovsdb.Bridges() {
		_, is := ovsdb.Port(bridge, name)
		needed = needed || is
	}
	if needed {
		return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("device: expected a device that the node can do without, found %q, which carries the node's own address or is a port of Open vSwitch", name), "")
	}
	return nil
}

// bringDevice brings the device home and forgets the attachment.
func (p *Plugger) bringDevice(ctx context.Context, l lease.Lease, owes bool) error {
	p.attach.leave(l.Key())
	d, err := device(l)
	if err == nil {
		err = d.Bring(p.hold(l, 0))
	}
	if err != nil {
		p.log.Error("a device is not at home as it was", "device", l.Layer2.Device, "holder", l.Holder(), "error", err)
	}
	if l.NetNS != "" {
		if err := plug.Forget(l.NetNS, l.Addresses); err != nil {
			p.log.Warn("rules left in the container", "error", err)
		}
	}
	p.devices.put(l.Key(), nil)
	ovsdb, err := p.node.OVSDB()
	if err == nil {
		p.owe(ctx, ovsdb, l, owes)
		err = ovsdb.SetOpenvSwitchExternalIDs(ctx, nil, []string{l.DeviceKey()})
	}
	if err != nil {
		p.attach.stay(l.Key())
		return err
	}
	p.attach.gone(l.Key())
	return nil
}

// hold is the device's namespace: held already, at its path, or that of a process that is
// known to live in it (0: none is); nil if there is no way into it.
func (p *Plugger) hold(l lease.Lease, pid int) *plug.Away {
	if a := p.devices.get(l.Key()); a != nil {
		return a
	}
	var paths []string
	if l.NetNS != "" && inode(l.NetNS) == l.NetNSInode {
		paths = append(paths, l.NetNS)
	}
	if pid != 0 {
		paths = append(paths, fmt.Sprintf("/proc/%d/ns/net", pid))
	}
	for _, path := range paths {
		if a, err := plug.Hold(path); err == nil {
			p.devices.put(l.Key(), a)
			return a
		}
	}
	return nil
}

// straysEvery is how often the host's links are looked at for devices that came home by
// themselves and that no lease knows.
const straysEvery = 10 * time.Second

// tendDevices tells of lent devices which are where they were lent to, and puts in order
// what has come home alone.
func (p *Plugger) tendDevices(settled []lease.Lease, there map[string]bool) error {
	for _, l := range settled {
		if l.Layer2.Device == "" {
			continue
		}
		d, err := device(l)
		away := p.hold(l, p.life.now[l.NetNSInode].pid)
		if err != nil || away == nil {
			continue
		}
		in, err := d.In(away)
		there[l.Port] = in || err != nil // what is doubtful is there
	}
	if time.Since(p.devices.looked) < straysEvery {
		return nil
	}
	p.devices.looked = time.Now()
	aliases, err := plug.Strays(lease.AliasPrefix)
	errs := []error{err}
	for _, alias := range aliases {
		l, err := lease.ParseAlias("", alias)
		if err != nil || l.Layer2.Device == "" {
			continue
		}
		if _, known := p.attach.get(l.Key()); known || p.attach.isBusy(l.Key()) {
			continue
		}
		if d, err := device(l); err == nil {
			d.Alias = alias
			p.log.Info("a device that came home by itself gets its name back", "device", d.Name)
			errs = append(errs, d.Bring(nil))
		}
	}
	return errors.Join(errs...)
}

// LentDevices are the ports of devices that are where they were lent to.
func (p *Plugger) LentDevices() (ports []string) {
	for _, l := range p.attach.all() {
		away := p.devices.get(l.Key())
		if l.Layer2.Device == "" || away == nil {
			continue
		}
		d, err := device(l)
		if err != nil {
			continue
		}
		if in, err := d.In(away); in || err != nil {
			ports = append(ports, l.Port)
		}
	}
	return ports
}

// BringHome brings a lent device home without an agent.
func BringHome(l lease.Lease) error {
	d, err := device(l)
	if err != nil {
		return err
	}
	away, err := plug.Hold(l.NetNS)
	if err != nil {
		return d.Bring(nil)
	}
	defer away.Close()
	return d.Bring(away)
}
