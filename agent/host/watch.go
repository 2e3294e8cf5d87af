package host

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/cni/wire"
)

// Watch sends to changed whenever a link, an address, a route or a permanent neighbour of
// this namespace changes, and to neighbour whenever any neighbour does, until ctx ends. Both have room
// for one value; several changes may be one. A link that is a pod's cable is noted in
// moved instead, unless it has gone.
func Watch(ctx context.Context, changed, neighbour chan<- struct{}, moved *Moved) error {
	for {
		if err := watch(ctx, changed, neighbour, moved); err != nil || ctx.Err() != nil {
			return err
		}
		// Some were lost: the kernel gives up on a listener that does not keep up
		// (ENOBUFS; seen with 50 pods at once), and the library then on listening.
		tell(changed)
		tell(neighbour)
	}
}

// watch returns nil when ctx ends, or when one of the subscriptions does.
func watch(ctx context.Context, changed, neighbour chan<- struct{}, moved *Moved) error {
	ctx, cancel := context.WithCancel(ctx)
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	neighbours := make(chan netlink.NeighUpdate, 64)
	defer cancel()
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer drain(links)
	if err := netlink.AddrSubscribe(addrs, ctx.Done()); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer drain(addrs)
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	defer drain(routes)
	if err := netlink.NeighSubscribe(neighbours, ctx.Done()); err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	defer drain(neighbours)
	for {
		var ok bool
		whom := changed
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-links:
			if ok = open; ok && wire.IsHostName(u.Attrs().Name) {
				if u.Header.Type != unix.RTM_DELLINK {
					moved.Note(u.Attrs().Name)
				}
				continue
			}
		case _, ok = <-addrs:
		case _, ok = <-routes:
		case u, open := <-neighbours:
			whom = neighbour
			if ok = open; ok && (u.Type == unix.RTM_DELNEIGH || u.State&netlink.NUD_PERMANENT != 0) {
				tell(changed) // the router's is one
			}
		}
		if !ok {
			return nil
		}
		tell(whom)
	}
}

func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain takes what a subscription still holds, in the background: its goroutine ends
// with the context, and would wait for ever.
func drain[T any](c <-chan T) {
	go func() {
		for range c {
		}
	}()
}
