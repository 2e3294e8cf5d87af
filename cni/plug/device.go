package plug

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Device is a device of the host's that is lent to a container. While it is away it bears
// an alias that tells whose it is and what its name was, wherever the kernel may put it.
type Device struct {
	// Name is what it is called on the host.
	Name string
	// Passing is a name that nothing has on either side, for the way.
	Passing string
	// Alias is what it bears while it is away, OwnAlias what it had.
	Alias, OwnAlias string
	// MAC and MTU are what it had, and Up whether it was.
	MAC net.HardwareAddr
	MTU int
	Up  bool
	// NetNS and IfName are the container's.
	NetNS, IfName string
}

// ErrInUse is returned, wrapped, by [LookAtDevice] for a device that the host needs.
var ErrInUse = errors.New("the host needs it")

// LookAtDevice fills in what the device is like before it is moved. The error may be
// [ErrNoInterface], or [ErrInUse] with the reason.
func LookAtDevice(d *Device) error {
	link, err := netlink.LinkByName(d.Name)
	if noDevice(err) {
		return fmt.Errorf("device %s: %w", d.Name, ErrNoInterface)
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	a := link.Attrs()
	if a.MasterIndex != 0 {
		return fmt.Errorf("device %s: %w: it belongs to the link with index %d (a bridge, a bond or Open vSwitch)", d.Name, ErrInUse, a.MasterIndex)
	}
	if len(a.HardwareAddr) != 6 {
		return fmt.Errorf("device %s: it is no Ethernet device", d.Name)
	}
	d.OwnAlias, d.MAC, d.MTU, d.Up = a.Alias, a.HardwareAddr, a.MTU, a.RawFlags&unix.IFF_UP != 0
	return nil
}

// Away is a namespace with a lent device in it. While it is held, the namespace stays,
// though nothing else holds it: the kernel deletes many kinds of devices with theirs. It
// is a netlink socket and no open file, so that the namespace's file can be unmounted.
type Away struct{ pod *netlink.Handle }

// Hold takes hold of a container's namespace. The error may wrap [*NetNSError].
func Hold(netNS string) (*Away, error) {
	ns, err := openNetNS(netNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	pod, err := netlinkIn(ns, netNS)
	if err != nil {
		return nil, err
	}
	return &Away{pod}, nil
}

// Close lets the namespace go.
func (a *Away) Close() { a.pod.Close() }

// Take moves the device into the container, under the name that it is to have there, and
// up. If it fails, the device is at home again.
func (d Device) Take(promiscuous bool) (*Away, error) {
	a, err := d.take(promiscuous)
	if err != nil {
		return nil, fmt.Errorf("move device %s into %q: %w", d.Name, d.NetNS, err)
	}
	return a, nil
}

func (d Device) take(promiscuous bool) (*Away, error) {
	ns, err := openNetNS(d.NetNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	away, err := Hold(d.NetNS)
	if err != nil {
		return nil, err
	}
	if _, err := away.pod.LinkByName(d.IfName); err == nil {
		away.Close()
		return nil, step(d.IfName, "give it its name", ErrIfNameTaken)
	}
	if err = d.send(ns); err == nil {
		err = d.arrive(away, ns, promiscuous)
	}
	if err != nil {
		err = errors.Join(err, d.Bring(away))
		away.Close()
		return nil, err
	}
	return away, nil
}

// send marks the device and moves it.
func (d Device) send(ns *os.File) error {
	link, err := netlink.LinkByName(d.Name)
	if err != nil {
		return err
	}
	for _, s := range []podStep{
		{"set alias", func() error { return netlink.LinkSetAlias(link, asAlias(d.Alias)) }},
		{"set it down", func() error { return netlink.LinkSetDown(link) }},
		{"rename it", func() error { return netlink.LinkSetName(link, d.Passing) }},
		{"move it", func() error { return netlink.LinkSetNsFd(link, int(ns.Fd())) }},
	} {
		if err := s.run(); err != nil {
			return step(d.Name, s.doing, err)
		}
	}
	return nil
}

func (d Device) arrive(away *Away, ns *os.File, promiscuous bool) error {
	link, err := away.pod.LinkByName(d.Passing)
	if err == nil {
		err = away.pod.LinkSetName(link, d.IfName)
	}
	if err != nil {
		return step(d.IfName, "give it its name", err)
	}
	return raise(away.pod, ns, d.IfName, link.Attrs().Index, false, promiscuous)
}

// In tells whether the device is in the namespace.
func (d Device) In(away *Away) (bool, error) {
	link, err := d.find(away.pod)
	return link != nil, err
}

// find looks for the device by its alias, and else by its name in the container, which
// a container may have changed.
func (d Device) find(h *netlink.Handle) (netlink.Link, error) {
	links, err := rtnl.Links(h)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var byName netlink.Link
	for _, l := range links {
		switch a := l.Attrs(); {
		case a.Alias != "" && a.Alias == d.Alias:
			return l, nil
		case a.Name == d.Passing, a.Name == d.IfName && l.Type() != "veth", a.Name == d.IfName && a.HardwareAddr.String() == d.MAC.String():
			byName = l
		}
	}
	return byName, nil
}

// Bring brings the device home, under its own name and as it was. A device that is neither
// in the namespace nor on the host has gone, which is no error. Away may be nil.
func (d Device) Bring(away *Away) error {
	if away != nil {
		link, err := d.find(away.pod)
		if err == nil && link != nil {
			err = d.sendHome(away.pod, link)
		}
		if err != nil {
			return fmt.Errorf("bring device %s home: %w", d.Name, err)
		}
	}
	return d.settle()
}

func (d Device) sendHome(pod *netlink.Handle, link netlink.Link) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	for _, s := range []podStep{
		{"set it down", func() error { return pod.LinkSetDown(link) }},
		{"set alias", func() error { return pod.LinkSetAlias(link, asAlias(d.Alias)) }},
		{"rename it", func() error { return pod.LinkSetName(link, d.Passing) }},
		{"move it", func() error { return pod.LinkSetNsFd(link, int(home.Fd())) }},
	} {
		if err := s.run(); err != nil {
			return step(link.Attrs().Name, s.doing, err)
		}
	}
	return nil
}

// settle makes the device on the host what it was: one that has come home, also by the
// kernel, which brings physical devices home from a namespace that ends, under whatever
// name they have.
func (d Device) settle() error {
	links, err := rtnl.Links(rtnl.Here)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); a.Alias != "" && a.Alias == d.Alias || a.Name == d.Passing {
			return d.restore(l)
		}
	}
	return nil
}

func (d Device) restore(l netlink.Link) error {
	steps := []podStep{
		{"set it down", func() error { return netlink.LinkSetDown(l) }},
		{"set its MAC", func() error {
			return same(l.Attrs().HardwareAddr.String() == d.MAC.String(), func() error { return netlink.LinkSetHardwareAddr(l, d.MAC) })
		}},
		{"set its MTU", func() error {
			return same(l.Attrs().MTU == d.MTU || d.MTU == 0, func() error { return netlink.LinkSetMTU(l, d.MTU) })
		}},
		{"set it not promiscuous", func() error { return netlink.SetPromiscOff(l) }},
		{"give it its name", func() error {
			return same(l.Attrs().Name == d.Name, func() error { return netlink.LinkSetName(l, d.Name) })
		}},
		{"set alias", func() error { return netlink.LinkSetAlias(l, d.OwnAlias) }},
	}
	if d.Up {
		steps = append(steps, podStep{"set it up", func() error { return netlink.LinkSetUp(l) }})
	}
	var errs []error
	for _, s := range steps {
		if err := s.run(); err != nil {
			errs = append(errs, step(l.Attrs().Name, s.doing, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("device %s is back on the host, and not as it was: %w", d.Name, err)
	}
	return nil
}

func same(is bool, change func() error) error {
	if is {
		return nil
	}
	return change()
}

// Strays are the aliases that begin so of links on the host, other than cables: devices
// that have come home by themselves.
func Strays(prefix string) (aliases []string, err error) {
	links, err := rtnl.Links(rtnl.Here)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Alias, prefix) && !wire.IsHostName(l.Attrs().Name) {
			aliases = append(aliases, l.Attrs().Alias)
		}
	}
	return aliases, nil
}
