package plug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cable is a veth that [Create] made. It holds descriptors until [Cable.Close] or
// [Cable.Rollback]; close it soon, as an open namespace file keeps a plain umount of
// the container's namespace from succeeding (EBUSY). Its methods may be called from
// any goroutine and thread, one at a time.
type Cable struct {
	// HostIndex and IfIndex are the interface indices of the two ends, each in its
	// own namespace; IfIndex is known after [Cable.Configure] or [Cable.Raise].
	HostIndex int
	IfIndex   int

	spec Spec
	host *netlink.Handle // in the host's namespace
	pod  *netlink.Handle // in the container's; nil until it is needed
	ns   *os.File
}

// Create makes the cable: the container's end inside its namespace from the first
// moment on, with its name, MAC and MTU, and down; the host's end up, without IPv6. So
// it can be a port of the bridge while [Cable.Label] and [Cable.Configure] run.
//
// If it fails, nothing is left. The error names the device and the step; it may wrap
// [*NetNSError], [ErrIfNameTaken], [ErrHostNameTaken] or the context's error.
func Create(ctx context.Context, spec Spec) (*Cable, error) {
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("plug %s: %w", spec.HostName, err)
	}
	c := &Cable{spec: spec}
	made := false
	err := c.open()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		made, err = c.add()
	}
	// Before the other end is up there is no carrier, and so no IPv6 address yet.
	if err == nil {
		err = step(spec.HostName, "disable IPv6 on the host end", withoutIPv6(c.host, c.hostEnd(), spec.HostName))
	}
	if err == nil {
		return c, nil
	}
	if made {
		err = errors.Join(err, c.Rollback())
	} else {
		c.Close()
	}
	return nil, fmt.Errorf("plug %s: %w", spec.HostName, err)
}

// open opens the namespace and a netlink socket on the host.
func (c *Cable) open() (err error) {
	if c.ns, err = openNetNS(c.spec.NetNS); err != nil {
		return err
	}
	if c.host, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink on the host: %w", err)
	}
	return nil
}

// openPod opens a netlink socket in the container.
func (c *Cable) openPod() (err error) {
	if c.pod != nil {
		return nil
	}
	c.pod, err = netlinkIn(c.ns, c.spec.NetNS)
	return err
}

// add makes both ends with one message, and finds the host end's index. That end is up
// from the first: each change of a link is news to Open vSwitch, which then looks at all
// its ports.
func (c *Cable) add() (made bool, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.spec.HostName
	attrs.MTU = c.spec.MTU
	attrs.HardwareAddr = c.spec.HostMAC
	attrs.Flags = net.FlagUp
	veth := netlink.NewVeth(attrs)
	veth.PeerName = c.spec.IfName
	veth.PeerHardwareAddr = c.spec.MAC
	veth.PeerMTU = uint32(c.spec.MTU)
	veth.PeerNamespace = netlink.NsFd(c.ns.Fd())
	if err := c.host.LinkAdd(veth); err != nil {
		return false, c.explain(err)
	}
	if c.HostIndex = veth.Index; c.HostIndex == 0 { // LinkAdd looks it up, and keeps its failure to itself
		return true, step(c.spec.HostName, "find it on the host", ErrNoInterface)
	}
	return true, nil
}

// explain says which of the two names was taken: the kernel has one EEXIST for both.
func (c *Cable) explain(err error) error {
	if errors.Is(err, unix.EEXIST) {
		if failed := c.openPod(); failed != nil {
			return errors.Join(err, failed)
		}
		if _, there := c.pod.LinkByName(c.spec.IfName); there == nil {
			return step(c.spec.IfName, "create veth in "+c.spec.NetNS, ErrIfNameTaken)
		}
		if _, there := c.host.LinkByName(c.spec.HostName); there == nil {
			return step(c.spec.HostName, "create veth", ErrHostNameTaken)
		}
	}
	return step(c.spec.HostName, "create veth", err)
}

// Label sets the host end's alias, which says whose the cable is: without one it is an
// ADD's that was cut short (see [HostEnd.Abandoned]).
func (c *Cable) Label() error {
	return step(c.spec.HostName, "set alias", c.host.LinkSetAlias(c.hostEnd(), asAlias(c.spec.Alias)))
}

func (c *Cable) hostEnd() netlink.Link {
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: c.HostIndex, Name: c.spec.HostName}}
}

func (c *Cable) podEnd() netlink.Link {
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: c.IfIndex, Name: c.spec.IfName}}
}

// Rollback takes the cable away, both ends, and closes it. It succeeds if the cable
// has gone already.
func (c *Cable) Rollback() error {
	defer c.Close()
	if c.host == nil {
		return nil
	}
	if err := c.host.LinkDel(c.hostEnd()); err != nil && !noDevice(err) {
		return step(c.spec.HostName, "delete", err)
	}
	return nil
}

// Close frees the descriptors and leaves the cable where it is. It may be called more
// than once.
func (c *Cable) Close() {
	if c.host != nil {
		c.host.Close()
	}
	if c.pod != nil {
		c.pod.Close()
	}
	if c.ns != nil {
		c.ns.Close()
	}
	c.host, c.pod, c.ns = nil, nil, nil
}

// noDevice tells whether an error means that the link is not there.
func noDevice(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.Is(err, unix.ENODEV) || errors.As(err, &missing)
}
