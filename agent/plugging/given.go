package plugging

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

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
	fail := func(format string, args ...any) (given, error) {
		return given{}, types.NewError(types.ErrInternal, fmt.Sprintf("IPAM plugin %s: ", plugin)+fmt.Sprintf(format, args...), "")
	}
	if len(result) == 0 {
		return fail("it was not run: the CNI executable is older than the agent; install that of the agent's version")
	}
	parsed, err := create.CreateFromBytes(result)
	if err != nil {
		return fail("its result cannot be read: %v", err)
	}
	r, err := types100.NewResultFromResult(parsed)
	if err != nil {
		return fail("its result cannot be read: %v", err)
	}
	g.result = *r
	gateway := map[bool]netip.Addr{}
	for _, ip := range r.IPs {
		p, ok := prefixOf(&ip.Address)
		if !ok {
			return fail("its result has the address %v", ip.Address)
		}
		g.dressing.Addresses = append(g.dressing.Addresses, p)
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok && !gateway[p.Addr().Is4()].IsValid() {
			gateway[p.Addr().Is4()] = gw.Unmap()
		}
	}
	if len(g.dressing.Addresses) == 0 {
		return fail("it gave no address")
	}
	for _, route := range r.Routes {
		dst, ok := prefixOf(&route.Dst)
		if !ok {
			return fail("its result has the route %v", route)
		}
		via, ok := netip.AddrFromSlice(route.GW)
		if via = via.Unmap(); !ok {
			via = gateway[dst.Addr().Is4()]
		}
		g.dressing.Routes = append(g.dressing.Routes, plug.Route{Dst: dst.Masked(), Via: via})
	}
	return g, nil
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
