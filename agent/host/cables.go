package host

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// cables makes the host's ends of pods' veths what they were when they were plugged in:
// udev may give them another MAC, people set them down. One that is not there is being
// plugged in or out.
func (h *Host) cables(want []render.Cable) error {
	if len(want) == 0 {
		return nil
	}
	list, err := rtnl.Links(rtnl.Here)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	links := make(map[string]netlink.Link, len(list))
	for _, l := range list {
		links[l.Attrs().Name] = l
	}
	var errs []error
	for _, c := range want {
		if link, ok := links[c.Device]; ok {
			errs = append(errs, h.cable(link, c))
		}
	}
	h.remember(want)
	return errors.Join(errs...)
}

// Tend is the part of Apply that is about cables, and only about those that have moved,
// and those that are wanted since. The others are as they were left.
func (h *Host) Tend(want []render.Cable, moved *Moved) error {
	h.changes = nil
	names := moved.take()
	var errs []error
	for _, c := range want {
		if _, is := slices.BinarySearch(names, c.Device); !is && h.tended[c.Device] == c {
			continue
		}
		link, err := netlink.LinkByName(c.Device)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cable %s: %w", c.Device, err))
			continue
		}
		errs = append(errs, h.cable(link, c))
	}
	h.remember(want)
	h.repair()
	return errors.Join(errs...)
}

func (h *Host) remember(want []render.Cable) {
	h.tended = make(map[string]render.Cable, len(want))
	for _, c := range want {
		h.tended[c.Device] = c
	}
}

func (h *Host) cable(link netlink.Link, want render.Cable) error {
	if link.Attrs().Alias == "" {
		return nil // its ADD has not come that far; it will move again
	}
	mac, err := net.ParseMAC(want.MAC)
	if err != nil {
		return fmt.Errorf("cable %s: %w", want.Device, err)
	}
	before := len(h.changes)
	err = h.device(link, mac, want.MTU)
	if h.tended[want.Device] != want { // it was not ours to keep until now
		h.changes = h.changes[:before]
	}
	return err
}

// device makes a device have this MAC and, unless it is 0, MTU, and be up.
func (h *Host) device(link netlink.Link, mac net.HardwareAddr, mtu int) error {
	attrs := link.Attrs()
	if attrs.HardwareAddr.String() != mac.String() {
		if err := h.did("set MAC of "+attrs.Name, netlink.LinkSetHardwareAddr(link, mac)); err != nil {
			return err
		}
	}
	if mtu != 0 && attrs.MTU != mtu {
		if err := h.did(fmt.Sprintf("set MTU of %s to %d", attrs.Name, mtu), netlink.LinkSetMTU(link, mtu)); err != nil {
			return err
		}
	}
	if attrs.Flags&net.FlagUp == 0 {
		return h.did("set "+attrs.Name+" up", netlink.LinkSetUp(link))
	}
	return nil
}
