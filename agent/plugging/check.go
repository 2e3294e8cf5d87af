package plugging

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// codeNotAsAdded is the error's code when something is not what ADD promised; codes from
// 100 on are the plugin's own (CNI specification, section 5).
const codeNotAsAdded = 100

// check answers CHECK: it compares what there is with what ADD promised and names the first
// difference: the cable before the row in OVSDB, which a lost cable takes along.
func (p *Plugger) check(ctx context.Context, req *wire.Request) error {
	r, err := attachment(req)
	if err != nil {
		return err
	}
	if r.conf.PrevResult == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "prevResult: expected the result of the ADD (CHECK needs it), found nothing", "")
	}
	promised, err := previous(r.conf)
	if err != nil {
		return err
	}
	key := r.lease.Key()
	if !p.attach.lock(ctx.Done(), key) {
		return tryAgain("gave up while another request for %s was under way", key)
	}
	defer p.attach.unlock(key)
	l, ok := p.attach.get(key)
	if !ok {
		return notAdded(r.lease)
	}
	ovsdb, err := p.node.OVSDB()
	if err != nil {
		return tryAgain("%v", err)
	}
	if l.Layer2.Is() {
		return p.checkLayer2(ovsdb, req, l, promised)
	}
	for _, look := range []func() error{
		func() error { return keepsPromise(promised, req, l) },
		func() error { return p.checkCable(ovsdb, req, l, promised) },
		func() error { return p.checkFlows(ctx, l) },
		func() error { return p.hostPortsDiffer(ctx, r, l) },
	} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

// notAdded is the answer where there is no lease: one whose cable has gone is freed soon
// after, and the cable is then what there is to be known.
func notAdded(l lease.Lease) error {
	found := "none: its port was taken from OVSDB, though link " + l.Port + " is there"
	if _, err := plug.Find(l.Port); errors.Is(err, plug.ErrNoInterface) {
		found = "none, nor link " + l.Port + ": it was never added, was deleted, or its cable has gone"
	}
	return differs("the lease", "a port for "+l.Key().String(), found)
}

// checkRow looks for the attachment's port.
func checkRow(ovsdb *db.Client, l lease.Lease) error {
	port, ok := ovsdb.Port(bridgeOf(l), l.Port)
	switch {
	case !ok:
		return differs("the row in OVSDB", "port "+l.Port+" of bridge "+bridgeOf(l), "none")
	case port.OFPort <= 0:
		return differs("the OVS port "+l.Port, "an OpenFlow port number", fmt.Sprintf("%d %s", port.OFPort, port.Error))
	}
	return nil
}

// checkHostEnd looks for the cable's end on the host, and then for its row.
func checkHostEnd(ovsdb *db.Client, l lease.Lease) (plug.HostEnd, error) {
	host, err := plug.Find(l.Port)
	switch {
	case errors.Is(err, plug.ErrNoInterface):
		return host, differs("the cable's end on the host", "link "+l.Port, "none")
	case err != nil:
		return host, err
	case !host.Up:
		return host, differs("link "+l.Port, "it up", "it down")
	}
	return host, checkRow(ovsdb, l)
}

// inspected is the container's interface.
func inspected(req *wire.Request) (*plug.Interface, error) {
	in, err := plug.Inspect(req.NetNS, req.IfName)
	var gone *plug.NetNSError
	switch {
	case errors.As(err, &gone):
		return nil, cniError(err)
	case errors.Is(err, plug.ErrNoInterface):
		return nil, differs("the container", "interface "+req.IfName, "none")
	}
	return in, err
}

func differs(what, want, found string) error {
	return types.NewError(codeNotAsAdded, fmt.Sprintf("%s: expected %s, found %s", what, want, found), "DEL and ADD make it anew")
}

// keepsPromise holds the lease against the result of the ADD.
func keepsPromise(promised *types100.Result, req *wire.Request, l lease.Lease) error {
	own := ownInterface(promised, req)
	if own < 0 {
		return types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("prevResult: expected an interface %s in sandbox %s, found none: it is not the result of this attachment's ADD", req.IfName, req.NetNS), "")
	}
	var addresses []netip.Addr
	for _, ip := range promised.IPs {
		if ip.Interface != nil && *ip.Interface == own {
			a, _ := netip.AddrFromSlice(ip.Address.IP)
			addresses = append(addresses, a.Unmap())
		}
	}
	slices.SortFunc(addresses, byFamily)
	if !slices.Equal(addresses, l.Addresses) {
		return differs("the lease of "+l.Port, fmt.Sprintf("addresses %v", addresses), fmt.Sprint(l.Addresses))
	}
	return nil
}

// ownInterface is the index of the container's end in a result, negative if it is not there.
func ownInterface(r *types100.Result, req *wire.Request) int {
	return slices.IndexFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Sandbox == req.NetNS && i.Name == req.IfName })
}

// checkCable holds the veth and what is set in the container against the lease.
func (p *Plugger) checkCable(ovsdb *db.Client, req *wire.Request, l lease.Lease, promised *types100.Result) error {
	host, err := checkHostEnd(ovsdb, l)
	if err != nil {
		return err
	}
	in, err := inspected(req)
	if err != nil {
		return err
	}
	if err := interfaceDiffers(in, host.Index, l, promised.Interfaces[ownInterface(promised, req)]); err != nil {
		return err
	}
	return ratesDiffer(ovsdb, in, l)
}

// interfaceDiffers names the first thing of the container's interface that is not as promised.
func interfaceDiffers(in *plug.Interface, hostIndex int, l lease.Lease, promised *types100.Interface) error {
	if err := linkDiffers(in, hostIndex, l, promised, " (what is sent with another is dropped as spoofed)"); err != nil {
		return err
	}
	name := "interface " + l.IfName
	for _, a := range l.Addresses {
		if !slices.Contains(in.Addresses, netip.PrefixFrom(a, a.BitLen())) {
			return differs("the addresses of "+name, netip.PrefixFrom(a, a.BitLen()).String(), fmt.Sprint(in.Addresses))
		}
	}
	for _, a := range l.Addresses {
		router := render.RouterFor(a)
		zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.Is6() {
			zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		for _, want := range []plug.Route{{Dst: netip.PrefixFrom(router, router.BitLen())}, {Dst: zero, Via: router}} {
			if !slices.Contains(in.Routes, want) {
				return differs("the routes by "+name, want.String(), fmt.Sprint(in.Routes))
			}
		}
		if !slices.ContainsFunc(in.Neighbours, func(n plug.Neighbour) bool {
			return n.Addr == router && n.MAC.String() == render.RouterMAC.String()
		}) {
			return differs("the permanent neighbours by "+name, fmt.Sprintf("%s %s", router, render.RouterMAC), fmt.Sprint(in.Neighbours))
		}
	}
	return nil
}

// noCable is the host index of an interface that is no cable's end.
const noCable = -1

// linkDiffers holds the container's link against the lease; why says what another MAC than the
// lease's leads to.
func linkDiffers(in *plug.Interface, hostIndex int, l lease.Lease, promised *types100.Interface, why string) error {
	name := "interface " + l.IfName
	switch {
	case hostIndex != noCable && (in.Kind != "veth" || in.HostIndex != hostIndex):
		return differs(name, "the other end of "+l.Port, "another "+in.Kind)
	case !in.Up:
		return differs(name, "it up", "it down")
	case in.MAC.String() != l.MAC:
		return differs("the MAC of "+name, l.MAC+why, in.MAC.String())
	// A later plugin may have lowered it, and then has told so; or it follows the node's.
	case promised.Mtu != 0 && in.MTU != promised.Mtu && in.MTU != l.MTU:
		return differs("the MTU of "+name, fmt.Sprint(promised.Mtu), fmt.Sprint(in.MTU))
	}
	return nil
}

// checkFlows holds the switch against what is rendered.
func (p *Plugger) checkFlows(ctx context.Context, l lease.Lease) error {
	if superseded(p.attach.all())[l.Key()] {
		return differs("the sandbox", "it to be its pod's", "a newer sandbox of "+l.Holder()+", which has its place")
	}
	if err := p.node.Refused(render.AttachmentName(l.Attachment)); err != nil {
		return differs("the flows of "+l.Port, "all of them in the switch", err.Error())
	}
	missing, err := p.node.Missing(ctx, l.Attachment)
	if err != nil {
		return tryAgain("the switch's flows cannot be read: %v", err)
	}
	if missing != "" {
		return differs("the flows of "+l.Port, missing, "no such flow in the switch")
	}
	return nil
}
