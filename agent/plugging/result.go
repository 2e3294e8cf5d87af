package plugging

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/flows/render"
)

// result is what ADD answers, in the version that the configuration asked for: what
// the plugins before it in a list told, and its own.
func result(c *conf.Conf, l lease.Lease, d delegated) (types.Result, error) {
	r, err := previous(c)
	if err != nil {
		return nil, err
	}
	r.CNIVersion = types100.ImplementedSpecVersion
	r.DNS = mergeDNS(c.DNS, d.dns, r.DNS)
	own := len(r.Interfaces) + 1
	r.Interfaces = append(r.Interfaces,
		&types100.Interface{Name: l.Port, Mtu: l.MTU},
		&types100.Interface{Name: l.IfName, Mac: l.MAC, Mtu: l.MTU, Sandbox: l.NetNS})
	for _, addr := range l.Addresses {
		router := net.IP(render.RouterFor(addr).AsSlice())
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(own), Address: *host.IPNet(netip.PrefixFrom(addr, addr.BitLen())), Gateway: router,
		})
		zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if addr.Is6() {
			zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		r.Routes = append(r.Routes, &types.Route{Dst: *host.IPNet(zero), GW: router})
	}
	return r.GetAsVersion(c.CNIVersion)
}

// previous is the result of the plugins before ours in a list, an empty one if ours is
// the first.
func previous(c *conf.Conf) (*types100.Result, error) {
	if c.PrevResult == nil {
		return &types100.Result{}, nil
	}
	r, err := readResult(c.CNIVersion, c.PrevResult)
	if err == nil {
		return r, nil
	}
	return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("prevResult: expected a result of version %s: %v", c.CNIVersion, err), "")
}

// readResult reads a result; without a version, in the version that it names. The library
// does not expect a null in a list (it panics), so there is none afterwards.
func readResult(version string, text []byte) (*types100.Result, error) {
	var lists struct {
		Interfaces, IPs, Routes []json.RawMessage
	}
	if err := json.Unmarshal(text, &lists); err != nil {
		return nil, err
	}
	for name, list := range map[string][]json.RawMessage{"interfaces": lists.Interfaces, "ips": lists.IPs, "routes": lists.Routes} {
		for i, one := range list {
			if string(one) == "null" {
				return nil, fmt.Errorf("%s[%d]: expected an object, found null", name, i)
			}
		}
	}
	var any types.Result
	var err error
	if version == "" {
		any, err = create.CreateFromBytes(text)
	} else {
		any, err = create.Create(version, text)
	}
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(any)
}

// mergeDNS is the first that says anything.
func mergeDNS(all ...types.DNS) types.DNS {
	for _, d := range all {
		if !d.IsEmpty() {
			return d
		}
	}
	return types.DNS{}
}
