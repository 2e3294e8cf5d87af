package plugging

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// result is what ADD answers, in the version that the configuration asked for.
func (p *Plugger) result(c *conf.Conf, l lease.Lease, s state.State) (types.Result, error) {
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
