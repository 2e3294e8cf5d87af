package plugging

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/plug"
)

// given is what an IPAM plugin gave for a second network: there its routes count too.
type given struct {
	dressing plug.Dressing
	result   types100.Result
}

// readGiven reads the plugin's result. Without a plugin nothing is given.
func readGiven(plugin string, result []byte) (g given, err error) {
	if plugin == "" {
		return g, nil
	}
	r, err := pluginsResult(plugin, result)
	if err != nil {
		return g, err
	}
	g.result = *r
	by := gateways{}
	for _, ip := range r.IPs {
		p, ok := prefixOf(&ip.Address)
		if !ok {
			return given{}, ofPlugin(plugin, "its result has the address %v", ip.Address)
		}
		g.dressing.Addresses = append(g.dressing.Addresses, p)
		by.note(p, ip)
	}
	for _, route := range r.Routes {
		to, ok := by.route(route)
		if !ok {
			return given{}, ofPlugin(plugin, "its result has the route %v", route)
		}
		g.dressing.Routes = append(g.dressing.Routes, to)
	}
	return g, nil
}

// gateways are the first of each family (true: IPv4) in a result: by them routes go that name none.
type gateways map[bool]netip.Addr

// note takes the gateway of an address, which is p.
func (g gateways) note(p netip.Prefix, ip *types100.IPConfig) {
	if gw, ok := netip.AddrFromSlice(ip.Gateway); ok && !g[p.Addr().Is4()].IsValid() {
		g[p.Addr().Is4()] = gw.Unmap()
	}
}

// route is a route of the result.
func (g gateways) route(r *types.Route) (plug.Route, bool) {
	dst, ok := prefixOf(&r.Dst)
	via, named := netip.AddrFromSlice(r.GW)
	if via = via.Unmap(); !named {
		via = g[dst.Addr().Is4()]
	}
	return plug.Route{Dst: dst.Masked(), Via: via}, ok
}

// prefixOf is the typed form of the library's.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if addr = addr.Unmap(); bits == 128 && addr.Is4() {
		ones -= 96
	}
	p := netip.PrefixFrom(addr, ones)
	return p, p.IsValid()
}

// layer2Result is what ADD answers on a second network.
func layer2Result(c *conf.Conf, l lease.Lease, g given) (types.Result, error) {
	r, err := previous(c)
	if err != nil {
		return nil, err
	}
	r.CNIVersion = types100.ImplementedSpecVersion
	r.DNS = mergeDNS(c.DNS, g.result.DNS, r.DNS)
	if l.Layer2.Device == "" {
		r.Interfaces = append(r.Interfaces, &types100.Interface{Name: l.Port, Mtu: l.MTU})
	}
	own := len(r.Interfaces)
	r.Interfaces = append(r.Interfaces, &types100.Interface{Name: l.IfName, Mac: l.MAC, Mtu: l.MTU, Sandbox: l.NetNS})
	for _, ip := range g.result.IPs {
		r.IPs = append(r.IPs, &types100.IPConfig{Interface: types100.Int(own), Address: ip.Address, Gateway: ip.Gateway})
	}
	r.Routes = append(r.Routes, g.result.Routes...)
	return r.GetAsVersion(c.CNIVersion)
}
