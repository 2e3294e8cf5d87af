package host

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/flows/render"
)

// cables makes the host's ends of pods' veths what they were when they were plugged in:
// udev may give them another MAC, people set them down. One that is not there is being
// plugged in or out.
func (h *Host) cables(want []render.Cable) error {
	if len(want) == 0 {
		return nil
	}
	list, err := netlink.LinkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil // what is missing is looked at the next time
	}
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	links := make(map[string]netlink.Link, len(list))
	for _, l := range list {
		links[l.Attrs().Name] = l
	}
	var errs []error
	for _, c := range want {
		if link, ok := links[c.Device]; ok && link.Attrs().Alias != "" { // its ADD has come that far
			errs = append(errs, h.cable(link, c))
		}
	}
	return errors.Join(errs...)
}

func (h *Host) cable(link netlink.Link, want render.Cable) error {
	mac, err := net.ParseMAC(want.MAC)
	if err != nil {
		return fmt.Errorf("cable %s: %w", want.Device, err)
	}
	return h.device(link, mac, want.MTU)
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
