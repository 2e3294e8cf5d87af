package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Host is the machine's (network namespace's) stack. It is not safe for concurrent use.
type Host struct {
	// Before, if it is set, is called before host ports change: with those that no longer lead
	// to where they do, and those that will.
	Before func(ctx context.Context, leaving, coming []render.HostPort)

	log   *slog.Logger
	rules *rules
	// applied is the state that was put in place last; a difference found while the
	// desired state is still the same is somebody else's doing.
	applied string
	// changes are what the Apply that runs has changed, in words.
	changes []string
	// repaired counts what was put right behind others.
	repaired uint64
	contest  contest
	// given are the addresses that this Host has given to the gateway device.
	given map[netip.Prefix]bool
	// tended are the cables that were wanted when they were last looked at.
	tended map[string]render.Cable
}

// New works in the caller's network namespace.
func New(log *slog.Logger) *Host {
	return &Host{log: log, rules: &rules{}, given: map[netip.Prefix]bool{}}
}

// Repaired counts what was put right behind others.
func (h *Host) Repaired() uint64 { return h.repaired }

// Apply puts the desired state in place. With look it holds the nftables rules
// against what nft lists, which takes a process; without, only a change of the
// desired rules does. The error joins all that could not be done; the rest is done
// nevertheless.
func (h *Host) Apply(ctx context.Context, want render.Host, look bool) error {
	h.changes = nil
	var errs []error
	for _, s := range want.Sysctls {
		errs = append(errs, h.sysctl(s))
	}
	errs = append(errs, h.rulesets(ctx, want.Rules, look))
	if want.Gateway.MAC != "" {
		errs = append(errs, h.gateway(want.Gateway, want.Routes))
	}
	errs = append(errs, h.cables(want.Cables))
	rest := want
	rest.Cables = nil
	text := rest.String()
	if h.applied == text {
		h.repair()
	}
	err := errors.Join(errs...)
	h.applied = text
	if err != nil {
		h.applied = ""
	}
	return err
}

// repair tells that what was changed had been put in place before.
func (h *Host) repair() {
	if len(h.changes) == 0 {
		return
	}
	h.repaired += uint64(len(h.changes))
	h.contest.note(time.Now(), h.changes)
	h.log.Warn("the host's settings were changed by somebody else and are put right", "changes", h.changes)
}

// sysctl writes a kernel setting if it has another value.
func (h *Host) sysctl(s render.Sysctl) error {
	path := filepath.Join("/proc/sys", s.Path)
	have, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(have)) == s.Value {
		return nil
	}
	if s.Path == render.IPv6Forwarding {
		if err := h.keepAdvertisements(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte(s.Value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", s.Path, s.Value, err)
	}
	return h.did("set sysctl "+s.Path+" to "+s.Value, nil)
}

// keepAdvertisements sees to it that devices which take router advertisements still do
// when the host forwards: with accept_ra at 1, a host that gets its default route so
// would lose it as soon as it runs out.
func (h *Host) keepAdvertisements() error {
	const conf = "/proc/sys/net/ipv6/conf"
	devices, err := os.ReadDir(conf)
	if err != nil {
		return fmt.Errorf("IPv6 of this machine: %w", err)
	}
	var kept []string
	for _, d := range devices {
		if slices.Contains([]string{"all", "default", "lo", render.Bridge, render.GatewayDevice}, d.Name()) || strings.HasPrefix(d.Name(), render.PodDevicePrefix) {
			continue
		}
		path := filepath.Join(conf, d.Name(), "accept_ra")
		if have, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(have)) != "1" {
			continue // gone, or decided by somebody
		}
		if err := os.WriteFile(path, []byte("2"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep %s taking router advertisements: %w", d.Name(), err)
		}
		kept = append(kept, d.Name())
	}
	if len(kept) > 0 {
		h.log.Info("this machine is to forward IPv6; devices take router advertisements as before", "devices", kept, "accept_ra", 2)
	}
	return nil
}

// gateway sets the device up, and the routes that lead to it.
func (h *Host) gateway(want render.GatewayPort, routes []render.Route) error {
	link, err := netlink.LinkByName(want.Device)
	if err != nil {
		return fmt.Errorf("gateway device %s: %w (Open vSwitch makes it: is ovs-vswitchd running?)", want.Device, err)
	}
	mac, err := net.ParseMAC(want.MAC)
	if err != nil {
		return fmt.Errorf("gateway device %s: %w", want.Device, err)
	}
	if err := h.device(link, mac, want.MTU); err != nil {
		return err
	}
	return errors.Join(h.addresses(link, want.Addresses), h.neighbours(link, want.Neighbours), h.routes(link, routes), h.loopback(link, want.Loopback))
}

// did keeps a change in words, or says which one failed.
func (h *Host) did(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	h.changes = append(h.changes, what)
	h.log.Debug("host changed", "change", what)
	return nil
}

// neighbours makes the permanent entries; others on the device do no harm.
func (h *Host) neighbours(link netlink.Link, want []render.Neighbour) error {
	name := link.Attrs().Name
	list, err := rtnl.Neighbours(rtnl.Here, link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours on %s: %w", name, err)
	}
	var errs []error
	for _, n := range want {
		if slices.ContainsFunc(list, func(e netlink.Neigh) bool {
			return e.IP.Equal(n.Address.AsSlice()) && e.HardwareAddr.String() == n.MAC && e.State&netlink.NUD_PERMANENT != 0
		}) {
			continue
		}
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return err
		}
		errs = append(errs, h.did(fmt.Sprintf("add neighbour %s on %s", n.Address, name), netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: n.Address.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT, Family: family(n.Address),
		})))
	}
	return errors.Join(errs...)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// IPNet is the prefix in the form that netlink and CNI results take.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}
