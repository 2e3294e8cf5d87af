package plug

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Remove deletes the host end, and with it the whole cable, wherever the other end
// is. It succeeds if there is none. The kernel takes some 30 ms: hold no lock.
func Remove(hostName string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("remove %s: open netlink: %w", hostName, err)
	}
	defer h.Close()
	link, err := h.LinkByName(hostName)
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !noDevice(err) {
		return fmt.Errorf("remove %s: %w", hostName, err)
	}
	return nil
}

// retired is the alias of a cable that is being taken away.
const retired = "sluice: being removed"

// asAlias is as much of a text as fits into a link's alias (IFALIASZ less the terminating zero).
func asAlias(text string) string { return text[:min(len(text), 255)] }

// Retire marks a cable whose removal has been promised, before its row goes: whoever
// finds it later knows that it is nobody's, and may [HostEnd.Remove] it. It succeeds
// if there is none.
func Retire(hostName string) error {
	link, err := netlink.LinkByName(hostName)
	if err == nil {
		err = netlink.LinkSetAlias(link, retired)
	}
	if err != nil && !noDevice(err) {
		return fmt.Errorf("retire %s: %w", hostName, err)
	}
	return nil
}

// Abandoned tells whether the cable is nobody's for certain: its removal was promised,
// or its ADD was cut short. Any other without a row may have lost it.
func (e HostEnd) Abandoned() bool { return e.Alias == retired || e.Alias == "" }

// Remove deletes this very link, not one that has taken its name since. It succeeds
// if it has gone.
func (e HostEnd) Remove() error {
	err := netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: e.Index}})
	if err != nil && !noDevice(err) {
		return fmt.Errorf("remove %s: %w", e.Name, err)
	}
	return nil
}

// HostEnd is a link on the host that looks like a cable's.
type HostEnd struct {
	Name  string
	Index int
	// Alias is the Spec's; empty if the ADD was cut short before [Cable.Label].
	Alias string
	// Up tells that it is up.
	Up bool
}

// Find looks a host end up by its name. The error may be [ErrNoInterface].
func Find(hostName string) (HostEnd, error) {
	link, err := netlink.LinkByName(hostName)
	switch {
	case noDevice(err):
		return HostEnd{}, fmt.Errorf("%s: %w", hostName, ErrNoInterface)
	case err != nil:
		return HostEnd{}, fmt.Errorf("find %s: %w", hostName, err)
	}
	return hostEnd(link), nil
}

func hostEnd(l netlink.Link) HostEnd {
	a := l.Attrs()
	return HostEnd{Name: a.Name, Index: a.Index, Alias: a.Alias, Up: a.RawFlags&unix.IFF_UP != 0}
}

// HostEnds lists the veths on the host whose names have the form of [HostName], by
// name: for the collection of those that nobody knows any more. The kernel deletes a
// cable with its container's namespace, so each of them still has its other end
// somewhere.
func HostEnds() ([]HostEnd, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("list host ends: open netlink: %w", err)
	}
	defer h.Close()
	links, err := rtnl.Links(h)
	if err != nil {
		return nil, fmt.Errorf("list host ends: %w", err)
	}
	var ends []HostEnd
	for _, l := range links {
		if l.Type() == "veth" && wire.IsHostName(l.Attrs().Name) {
			ends = append(ends, hostEnd(l))
		}
	}
	slices.SortFunc(ends, func(a, b HostEnd) int { return cmp.Compare(a.Name, b.Name) })
	return ends, nil
}
