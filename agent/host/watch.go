package host

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Watch sends to changed whenever a link, an address or a route of this namespace
// changes, and to neighbour whenever a neighbour does, until ctx ends. Both have room
// for one value; several changes may be one.
func Watch(ctx context.Context, changed, neighbour chan<- struct{}) error {
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := netlink.AddrSubscribe(addrs, ctx.Done()); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	neighbours := make(chan netlink.NeighUpdate, 64)
	if err := netlink.NeighSubscribe(neighbours, ctx.Done()); err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	for {
		var ok bool
		tell := changed
		select {
		case <-ctx.Done():
			// The subscriptions' own goroutines end by the same signal; take what they
			// still hold, or they would wait for ever.
			go drain(links)
			go drain(addrs)
			go drain(routes)
			go drain(neighbours)
			return nil
		case _, ok = <-links:
		case _, ok = <-addrs:
		case _, ok = <-routes:
		case _, ok = <-neighbours:
			tell = neighbour
		}
		if !ok && ctx.Err() == nil {
			return fmt.Errorf("the kernel's notifications ended")
		}
		select {
		case tell <- struct{}{}:
		default:
		}
	}
}

func drain[T any](c <-chan T) {
	for range c {
	}
}
