package plug

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// ErrOtherMTU is that an interface has an MTU which it was not given: it is somebody else's to change.
var ErrOtherMTU = errors.New("it has another MTU than it was given")

// ChangeMTU gives a cable's two ends the MTU to, in bytes, if the container's has from (or to already).
// No end has less than what the other may send, but for the time in between. The error may wrap
// [*NetNSError], [ErrNoInterface] or ErrOtherMTU.
func ChangeMTU(hostName, netNS, ifName string, from, to int) error {
	if err := changeMTU(hostName, netNS, ifName, from, to); err != nil {
		return fmt.Errorf("MTU of %s: %w", ifName, err)
	}
	return nil
}

func changeMTU(hostName, path, ifName string, from, to int) error {
	ns, err := openNetNS(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	pod, err := netlinkIn(ns, path)
	if err != nil {
		return err
	}
	defer pod.Close()
	link, err := pod.LinkByName(ifName)
	switch {
	case noDevice(err):
		return ErrNoInterface
	case err != nil:
		return err
	case link.Attrs().MTU != from && link.Attrs().MTU != to:
		return fmt.Errorf("%w: %d, and not %d", ErrOtherMTU, link.Attrs().MTU, from)
	}
	inPod := func() error { return pod.LinkSetMTU(link, to) }
	onHost := func() error {
		host, err := netlink.LinkByName(hostName)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(host, to)
	}
	steps := []func() error{inPod, onHost}
	if to > from {
		steps = []func() error{onHost, inPod}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
