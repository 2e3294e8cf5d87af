package plug

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Forget takes away what Configure left beside the interface in a container that
// lives on: the rules of a further interface's addresses. A container that has gone
// is no error.
func Forget(netNS string, addresses []netip.Addr) error {
	ns, err := openNetNS(netNS)
	var gone *NetNSError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	pod, err := netlinkIn(ns, netNS)
	if err != nil {
		return err
	}
	defer pod.Close()
	for _, a := range addresses {
		rules, err := rtnl.Rules(pod, family(a), &netlink.Rule{Src: host(a), Priority: furtherPriority}, netlink.RT_FILTER_SRC|netlink.RT_FILTER_PRIORITY)
		if err != nil {
			return fmt.Errorf("list rules in %q: %w", netNS, err)
		}
		for _, r := range rules {
			if err := pod.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove rule for %s in %q: %w", a, netNS, err)
			}
		}
	}
	return nil
}
