package hazard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// strict is the value of rp_filter at which the kernel drops what comes in by another
// device than the one by which it would answer (RFC 3704; ip-sysctl.rst).
const strict = "1"

// reversePaths looks for a strict filter on a device where what comes in is answered by
// another: the route back is a rule's, or somebody's more exact one. Where the route
// leads back a strict filter does no harm, and is not named. There is none for IPv6.
func reversePaths(_ context.Context, n Node) ([]Hazard, error) {
	var out []Hazard
	var errs []error
	look := func(device string, from netip.Addr, who string) {
		if device == "" || !from.Is4() {
			return
		}
		on, err := filters(device)
		if err != nil || !on {
			errs = append(errs, err)
			return
		}
		back, err := deviceTo(from)
		if err != nil || back == device {
			errs = append(errs, err)
			return
		}
		if back == "" {
			back = "no device"
		}
		out = append(out, Hazard{
			fmt.Sprintf("%s filters reverse paths strictly (rp_filter=1), and what %s send comes in by it while the way back to %s is by %s: it is dropped",
				device, who, from, back),
			fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2, or take away the rule or route that leads by %s (ip rule; ip route get %s)",
				sysctlName(device), back, from),
		})
	}
	for _, p := range n.Pods {
		look(n.Gateway, p.Addr().Next().Next(), "pods")
	}
	for _, p := range n.Peers {
		if n.Kernel {
			look(n.Underlay, p, "other nodes")
		}
	}
	return out, errors.Join(errs...)
}

// filters tells whether a strict filter is in force: the greater of the device's value
// and of that for all.
func filters(device string) (bool, error) {
	greatest := ""
	for _, d := range []string{"all", device} {
		v, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + d + "/rp_filter")
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // the device is not there; that is told elsewhere
		}
		if err != nil {
			return false, err
		}
		greatest = max(greatest, strings.TrimSpace(string(v)))
	}
	return greatest == strict, nil
}

// sysctlName is a device's name as sysctl(8) takes it.
func sysctlName(device string) string { return strings.ReplaceAll(device, ".", "/") }

// deviceTo is the device by which the kernel sends to the address, empty if by none.
func deviceTo(a netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return "", nil //nolint:nilerr // no route is an answer
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("device of the route to %s: %w", a, err)
	}
	return link.Attrs().Name, nil
}
