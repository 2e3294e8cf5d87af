package host

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// routeProtocol says whose a route is: `ip route show proto 115` lists an agent's. No
// other program is known to use the number (iproute2's rt_protos).
const routeProtocol netlink.RouteProtocol = 115

// routes makes the main table hold these through the device, and none that an agent
// made earlier. Those of the kernel and of others stay, also one to the same
// destination: ours is put before it.
func (h *Host) routes(link netlink.Link, want []render.Route) error {
	name, index := link.Attrs().Name, link.Attrs().Index
	list, err := rtnl.Routes(rtnl.Here, netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	have, met := map[render.Route]bool{}, map[string]bool{}
	for _, r := range list {
		route := render.Route{To: prefixOf(r.Dst), Via: addrOf(r.Gw), Source: addrOf(r.Src)}
		// Of several to one destination the kernel takes the first.
		first := !met[route.To.String()]
		met[route.To.String()] = met[route.To.String()] || r.Priority == 0
		if r.LinkIndex != index || !ours(r, route) {
			continue
		}
		if r.Protocol == routeProtocol && first && slices.Contains(want, route) {
			have[route] = true
			continue
		}
		errs = append(errs, h.did(fmt.Sprintf("remove route to %s through %s", route.To, name), netlink.RouteDel(&r)))
	}
	for _, r := range want {
		if have[r] {
			continue
		}
		errs = append(errs, h.did(fmt.Sprintf("add route to %s through %s", r.To, name), addRoute(&netlink.Route{
			LinkIndex: index, Dst: IPNet(r.To), Gw: r.Via.AsSlice(), Src: r.Source.AsSlice(),
			Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol,
		}, r.To.Addr().Is4())))
	}
	return errors.Join(errs...)
}

// ours tells whether an agent made the route. Earlier ones did not sign theirs: they are
// known by their next hop, the virtual router.
func ours(r netlink.Route, route render.Route) bool {
	if r.Protocol == routeProtocol {
		return true
	}
	return r.Protocol == unix.RTPROT_STATIC && route.Via.IsValid() && route.Via == render.RouterFor(route.Via)
}

// loopbackMetric is behind the kernel's own route to ::1, by lo.
const loopbackMetric = 4096

// loopback makes the device take what is for ::1, or not: a local route of ours. In sending, the kernel's own
// comes before it.
func (h *Host) loopback(link netlink.Link, want bool) error {
	name := link.Attrs().Name
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: IPNet(render.Loopback(false)), Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL,
		Protocol: routeProtocol, Priority: loopbackMetric,
	}
	list, err := rtnl.Routes(rtnl.Here, netlink.FAMILY_V6, route, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list local routes: %w", err)
	}
	switch have := len(list) > 0; {
	case want && !have:
		return h.did("add a local route to ::1 by "+name, netlink.RouteAdd(route))
	case have && !want:
		return h.did("remove the local route to ::1 by "+name, netlink.RouteDel(route))
	}
	return nil
}

// addRoute puts a route before all others to its destination and metric. (NLM_F_CREATE
// alone does so for IPv4, `ip route prepend`; for IPv6 it would make one route with two
// next hops of them, so there ours takes the other's place.)
func addRoute(r *netlink.Route, v4 bool) error {
	if v4 {
		return netlink.RouteAddEcmp(r)
	}
	return netlink.RouteReplace(r)
}
