// Package rtnl asks the kernel for its lists of links, addresses, routes and the like, whole.
//
// A list that changes while the kernel tells it (NLM_F_DUMP_INTR) may lack entries and hold
// others twice; the netlink library then gives what it got, with an error. Here such a list is
// asked for again. Every listing of this project goes through this package, also those of tests.
package rtnl

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// attempts is how often a list is asked for. On a busy node it is interrupted several times in
// a row.
const attempts = 20

// whole asks again while the list changes.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	var got []T
	var err error
	for range attempts {
		if got, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return got, err
}

// Here asks in the namespace that the calling thread is in.
var Here = &netlink.Handle{}

// Links are all devices.
func Links(h *netlink.Handle) ([]netlink.Link, error) {
	return whole(h.LinkList)
}

// Addrs are the addresses of a device, or of all if link is nil.
func Addrs(h *netlink.Handle, link netlink.Link, family int) ([]netlink.Addr, error) {
	return whole(func() ([]netlink.Addr, error) { return h.AddrList(link, family) })
}

// Neighbours are the neighbour entries on a device, by its index.
func Neighbours(h *netlink.Handle, index, family int) ([]netlink.Neigh, error) {
	return whole(func() ([]netlink.Neigh, error) { return h.NeighList(index, family) })
}

// Routes are those that are like filter in what mask names (netlink.RT_FILTER_*).
func Routes(h *netlink.Handle, family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) { return h.RouteListFiltered(family, filter, mask) })
}

// Rules are the policy routing rules that are like filter in what mask names.
func Rules(h *netlink.Handle, family int, filter *netlink.Rule, mask uint64) ([]netlink.Rule, error) {
	return whole(func() ([]netlink.Rule, error) { return h.RuleListFiltered(family, filter, mask) })
}

// Qdiscs are the queueing disciplines of a device.
func Qdiscs(h *netlink.Handle, link netlink.Link) ([]netlink.Qdisc, error) {
	return whole(func() ([]netlink.Qdisc, error) { return h.QdiscList(link) })
}

// Filters are the traffic control filters of a device below a parent.
func Filters(h *netlink.Handle, link netlink.Link, parent uint32) ([]netlink.Filter, error) {
	return whole(func() ([]netlink.Filter, error) { return h.FilterList(link, parent) })
}
