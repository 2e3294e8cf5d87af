package plugging

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// cutShort is after how long an ADD that the executable has not gone on with has ended.
const cutShort = 2 * time.Minute

// layer2Rows are the rows of second networks: ports of ours on other bridges, and devices.
func layer2Rows(ovsdb *db.Client) (rows []lease.Lease, problems []string) {
	for _, bridge := range ovsdb.Bridges() {
		if bridge == render.Bridge {
			continue
		}
		for _, port := range ovsdb.Ports(bridge) {
			if !wire.IsHostName(port.Name) {
				continue
			}
			l, ours, err := lease.Parse(port.Name, port.OFPort, port.ExternalIDs)
			switch {
			case err != nil:
				problems = append(problems, err.Error())
			case ours && l.Layer2.Bridge != bridge:
				problems = append(problems, fmt.Sprintf("port %q is on bridge %q, and its lease is for %q", port.Name, bridge, bridgeOf(l)))
			case ours:
				rows = append(rows, l)
			}
		}
	}
	devices, more := lease.Devices(ovsdb.OpenvSwitchExternalIDs())
	return append(rows, devices...), append(problems, more...)
}

// putBack writes an attachment's row again that somebody deleted.
func putBack(ctx context.Context, ovsdb *db.Client, l lease.Lease) error {
	if l.Layer2.Device != "" {
		return ovsdb.SetOpenvSwitchExternalIDs(ctx, map[string]string{l.DeviceKey(): l.DeviceValue()}, nil)
	}
	err := ovsdb.AddPort(ctx, bridgeOf(l), portSpec(l), db.BridgeNote{})
	if l.Layer2.Is() && errors.Is(err, db.ErrNoBridge) {
		return nil // it is the operator's to make; the port follows
	}
	return err
}

// tendLayer2 keeps ports and guards of second networks what they were made, and ends what
// was cut short.
func (p *Plugger) tendLayer2(ctx context.Context, ovsdb *db.Client) error {
	var errs []error
	for _, l := range p.attach.all() {
		if l.Incomplete() && time.Since(time.Unix(0, l.Created)) > cutShort {
			errs = append(errs, p.collectOne(ctx, l, "its ADD was cut short"))
			continue
		}
		if l.Layer2.Bridge == "" {
			continue
		}
		errs = append(errs, p.attach.undisturbed(l, func() error { return p.tendPort(ctx, ovsdb, l) }))
	}
	return errors.Join(errs...)
}

func (p *Plugger) tendPort(ctx context.Context, ovsdb *db.Client, l lease.Lease) error {
	if _, ok := ovsdb.Port(l.Layer2.Bridge, l.Port); !ok {
		return nil
	}
	vlans, limit := ovsdb.PortSettings(l.Port)
	if !reflect.DeepEqual(vlans, layer2VLANs(l)) || limit != *switchLimit(l) {
		p.log.Warn("somebody changed a port of ours; it is put right", "port", l.Port, "bridge", l.Layer2.Bridge, "holder", l.Holder())
		if _, err := ovsdb.EnsurePort(ctx, l.Layer2.Bridge, portSpec(l), db.BridgeNote{}); err != nil {
			return err
		}
	}
	if !l.Layer2.SpoofGuard {
		return nil
	}
	guarded, err := plug.Guarded(l.Port)
	if errors.Is(err, plug.ErrNoInterface) {
		return nil // it is collected as a lease without a cable
	}
	if err != nil || guarded {
		return err
	}
	bridge, _ := ovsdb.Bridge(l.Layer2.Bridge)
	p.log.Warn("somebody took the guard of a cable away; it is put back", "port", l.Port, "holder", l.Holder())
	return setGuard(l, bridge.DatapathType == "netdev")
}

// checkLayer2 is CHECK on a second network.
func (p *Plugger) checkLayer2(ovsdb *db.Client, req *wire.Request, l lease.Lease, promised *types100.Result) error {
	if err := keepsPromise(promised, req, l); err != nil {
		return err
	}
	hostIndex := noCable
	if l.Layer2.Device == "" {
		host, err := checkPort(ovsdb, l)
		if err != nil {
			return err
		}
		hostIndex = host.Index
	}
	in, err := inspected(req)
	if err != nil {
		return err
	}
	own := promised.Interfaces[ownInterface(promised, req)]
	if err := linkDiffers(in, hostIndex, l, own, ""); err != nil {
		return err
	}
	if err := dressingDiffers(in, l, promised); err != nil || l.Layer2.Device != "" {
		return err
	}
	return ratesDiffer(ovsdb, in, l)
}

// checkPort looks at the host end, the row and the guard.
func checkPort(ovsdb *db.Client, l lease.Lease) (plug.HostEnd, error) {
	host, err := checkHostEnd(ovsdb, l)
	if err != nil {
		return host, err
	}
	if vlans, _ := ovsdb.PortSettings(l.Port); !reflect.DeepEqual(vlans, layer2VLANs(l)) {
		return host, differs("the VLANs of port "+l.Port, fmt.Sprintf("%+v", *layer2VLANs(l)), fmt.Sprintf("%+v", vlans))
	}
	if guarded, err := plug.Guarded(l.Port); err != nil || guarded != l.Layer2.SpoofGuard {
		return host, differs("the spoof guard of "+l.Port, fmt.Sprint(l.Layer2.SpoofGuard), fmt.Sprint(guarded))
	}
	return host, nil
}

// dressingDiffers holds addresses and routes against the ADD's result. A route that is by
// none of its subnets is another interface's.
func dressingDiffers(in *plug.Interface, l lease.Lease, promised *types100.Result) error {
	var own []netip.Prefix
	by := gateways{}
	for _, ip := range promised.IPs {
		p, ok := prefixOf(&ip.Address)
		if !ok || !slices.Contains(l.Addresses, p.Addr()) {
			continue
		}
		own = append(own, p)
		by.note(p, ip)
		if !slices.Contains(in.Addresses, p) {
			return differs("the addresses of interface "+l.IfName, p.String(), fmt.Sprint(in.Addresses))
		}
	}
	for _, r := range promised.Routes {
		want, ok := by.route(r)
		if !ok || !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(want.Via) }) {
			continue
		}
		if !slices.Contains(in.Routes, want) {
			return differs("the routes by interface "+l.IfName, want.String(), fmt.Sprint(in.Routes))
		}
	}
	return nil
}
