package plugging

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// delegated are the addresses that another IPAM plugin gave, and what it told beside.
type delegated struct {
	addresses []netip.Addr
	dns       types.DNS
}

// readDelegated reads the result of the IPAM plugin that the executable has run. Its
// routes and gateways are left alone: a pod of ours reaches everything by one router.
func readDelegated(plugin string, result []byte) (d delegated, err error) {
	r, err := pluginsResult(plugin, result)
	if err != nil {
		return delegated{}, err
	}
	for _, ip := range r.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			return delegated{}, ofPlugin(plugin, "its result has the address %v", ip.Address)
		}
		addr = addr.Unmap()
		if slices.ContainsFunc(d.addresses, func(other netip.Addr) bool { return other.Is4() == addr.Is4() }) {
			return delegated{}, ofPlugin(plugin, "it gave more than one address of a family: %v", r.IPs)
		}
		d.addresses = append(d.addresses, addr)
	}
	slices.SortFunc(d.addresses, byFamily)
	d.dns = r.DNS
	return d, nil
}

// pluginsResult reads what an IPAM plugin answered that the executable has run: addresses, one
// at least.
func pluginsResult(plugin string, result []byte) (*types100.Result, error) {
	if len(result) == 0 {
		return nil, ofPlugin(plugin, "it was not run: the CNI executable is older than the agent; install that of the agent's version")
	}
	r, err := readResult("", result)
	switch {
	case err != nil:
		return nil, ofPlugin(plugin, "its result cannot be read: %v", err)
	case len(r.IPs) == 0:
		return nil, ofPlugin(plugin, "it gave no address")
	}
	return r, nil
}

// ofPlugin is an error for which an IPAM plugin has to answer.
func ofPlugin(plugin, format string, args ...any) error {
	return types.NewError(types.ErrInternal, fmt.Sprintf("IPAM plugin %s: ", plugin)+fmt.Sprintf(format, args...), "")
}

// byFamily puts IPv4 first: MAC and port number come from the first address.
func byFamily(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }

// asked is what is asked for, by the runtime before the Pod's annotations.
func (p *Plugger) asked(r request) (conf.Ask, error) {
	pod, _, _ := p.node.Pod(r.lease.PodNamespace, r.lease.PodName)
	if r.lease.PodName == "" {
		pod = state.Pod{}
	}
	byPod, err := conf.ParseAsk(pod.AskedIPs, source.AnnotationIPs, pod.AskedMAC, source.AnnotationMAC)
	if err != nil {
		return conf.Ask{}, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("pod %s/%s: annotation %v", pod.Namespace, pod.Name, err), "")
	}
	if byPod.Addresses != nil && r.conf.IPAM != "" {
		return conf.Ask{}, types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("pod %s/%s: annotation %s: addresses of network %q are given by IPAM plugin %q, which cannot be asked by annotation",
				pod.Namespace, pod.Name, source.AnnotationIPs, r.conf.Name, r.conf.IPAM), "")
	}
	return conf.First(r.conf.Ask, r.ask, byPod), nil
}

// refused is the error for what was asked for and cannot be had at any time.
func refused(by string, err error) error {
	if by == "IP" || by == "MAC" {
		return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS: %s: %v", by, err), "")
	}
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("%s: %v", by, err), "")
}

// ranges are where addresses come from.
func (p *Plugger) ranges(c *conf.Conf, self state.Node) ([]ipam.Range, error) {
	ranges := c.Ranges
	if ranges == nil {
		ranges = ipam.Whole(self.PodCIDRs...)
	}
	if len(ranges) == 0 {
		return nil, tryAgain("%s", NoPodCIDR(p.node.Name()))
	}
	return ranges, nil
}

// reserve gives the attachment its addresses, MAC and port number, in memory.
func (p *Plugger) reserve(ovsdb *db.Client, s state.State, r request, req *wire.Request) (lease.Lease, delegated, error) {
	self, _ := s.Self()
	ask, err := p.asked(r)
	if err != nil {
		return r.lease, delegated{}, err
	}
	if r.lease.Rates, err = p.rates(r); err != nil {
		return r.lease, delegated{}, err
	}
	bridge, ok := ovsdb.Bridge(render.Bridge)
	if !ok {
		return r.lease, delegated{}, tryAgain("bridge %s does not exist: the agent makes it again; see `sluicectl status`", render.Bridge)
	}
	var d delegated
	var ranges []ipam.Range
	if r.conf.IPAM != "" {
		d, err = readDelegated(r.conf.IPAM, req.IPAM)
	} else {
		ranges, err = p.ranges(r.conf, self)
	}
	if err != nil {
		return r.lease, d, err
	}
	freed := lease.Freed(bridge.ExternalIDs)
	l, err := p.attach.reserve(func(held held) (lease.Lease, error) {
		l := r.lease
		l.NetNSInode = inode(l.NetNS)
		if r.conf.IPAM != "" {
			l.Addresses, err = d.addresses, free(d.addresses, held.addresses)
		} else {
			l.Addresses, err = choose(ranges, ask, held.addresses, freed)
		}
		if err != nil {
			return l, err
		}
		if err := p.hostPortsFree(s, l, held.ports); err != nil {
			return l, err
		}
		if l.MAC = render.MAC(l.Addresses[0]).String(); ask.MAC != nil {
			if l.MAC = ask.MAC.String(); l.MAC == render.RouterMAC.String() {
				return l, refused(ask.MACBy, fmt.Errorf("%s is the virtual router's", l.MAC))
			}
		}
		l.MTU, l.MTUAsked = cmp.Or(r.conf.MTU, render.MTU(s)), r.conf.MTU != 0
		l.OFPort = render.OFPort(l.Addresses[0], self.PodCIDRs)
		l.Created = time.Now().UnixNano()
		return l, nil
	})
	return l, d, err
}

// choose takes the addresses that are asked for, and of a family of which none is, the
// one whose turn it is.
func choose(ranges []ipam.Range, ask conf.Ask, held map[netip.Addr]string, freed map[netip.Addr]time.Time) ([]netip.Addr, error) {
	for _, addr := range ask.Addresses {
		if err := ipam.Grant(ranges, addr); err != nil {
			return nil, refused(ask.AddressesBy, err)
		}
	}
	if err := free(ask.Addresses, held); err != nil {
		return nil, err
	}
	out := slices.Clone(ask.Addresses)
	for _, family := range families(ranges) {
		if slices.ContainsFunc(out, func(a netip.Addr) bool { return a.Is4() == family[0].Prefix.Addr().Is4() }) {
			continue
		}
		addr, err := ipam.Pick(family, held, freed, time.Now())
		if errors.Is(err, ipam.ErrExhausted) {
			return nil, tryAgain("%v", err)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	slices.SortFunc(out, byFamily)
	return out, nil
}

// free tells whether nobody holds the addresses, and if not, who does. One that rests
// is given to who asks for it: only the choice among many can wait.
func free(addresses []netip.Addr, held map[netip.Addr]string) error {
	for _, a := range addresses {
		if who, taken := held[a]; taken {
			return tryAgain("address %s is held by %s; it is given again as soon as that has gone", a, who)
		}
	}
	return nil
}

// families sorts ranges by family, IPv4 first: a pod gets an address of each.
func families(ranges []ipam.Range) [][]ipam.Range {
	var v4, v6 []ipam.Range
	for _, r := range ranges {
		if r.Prefix.Addr().Is4() {
			v4 = append(v4, r)
		} else {
			v6 = append(v6, r)
		}
	}
	return slices.DeleteFunc([][]ipam.Range{v4, v6}, func(f []ipam.Range) bool { return len(f) == 0 })
}
