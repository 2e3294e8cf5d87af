package openflow

import (
	"context"
	"errors"

	"github.com/sluice-cni/sluice/flows"
)

var (
	someFlow   = flows.Flow{Table: 3, Priority: 7, Cookie: 9, Match: flows.Match{}.InPort(3)}
	someMeter  = flows.Meter{ID: 2, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 9, Burst: 3}}}
	somePacket = PacketOut{Packet: make([]byte, 64), Actions: []flows.Action{flows.Resubmit{Table: 7}}}
)

// everything calls every method once and returns the first error. In between a
// packet comes in, is given to seen, and is sent on its way.
func everything(ctx context.Context, c *Conn, seen func(PacketIn)) error {
	packets, err := c.Packets(ctx, ReasonAction, ReasonPacketOut)
	if err != nil {
		return err
	}
	events, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	var errs []error
	try := func(err error) {
		if err != nil && len(errs) == 0 {
			errs = append(errs, err)
		}
	}
	if err := c.Apply(ctx, Change{Add: []flows.Flow{someFlow}, PutMeters: []flows.Meter{someMeter}, RemoveMeters: []uint32{77}}); err != nil {
		return err
	}
	for _, call := range []func() error{
		func() error { _, err := c.Dump(ctx); return err },
		func() error { _, err := c.DumpGroups(ctx); return err },
		func() error { _, err := c.DumpGroupsOf(ctx, []uint32{1, 2}); return err },
		func() error { _, err := c.DumpMeters(ctx); return err },
		func() error { _, err := c.MeterFeatures(ctx); return err },
		func() error { _, err := c.MeterStats(ctx); return err },
		func() error { _, err := c.GroupStats(ctx); return err },
		func() error { _, err := c.TableStats(ctx); return err },
		func() error { _, err := c.PortStats(ctx); return err },
		func() error { _, err := c.Ports(ctx); return err },
		func() error { return c.SendPacket(ctx, somePacket) },
	} {
		if try(call()); len(errs) > 0 {
			return errs[0]
		}
	}
	select {
	case p, ok := <-packets:
		if !ok {
			return errors.New("wait for a packet: closed")
		}
		seen(p)
		if p.Paused {
			try(c.ResumePacket(ctx, p))
		}
	case <-ctx.Done():
		return errors.New("wait for a packet: none came")
	}
	select {
	case _, ok := <-events:
		if !ok {
			return errors.New("wait for an event: closed")
		}
	case <-ctx.Done():
		return errors.New("wait for an event: none came")
	}
	try(c.Barrier(ctx))
	return errors.Join(errs...)
}
