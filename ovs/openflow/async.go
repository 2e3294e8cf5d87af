package openflow

import (
	"context"
	"errors"
	"fmt"
)

// Messages of Open vSwitch's own (ofp-msgs.h): OFPT_EXPERIMENTER with vendor
// vendorNicira and one of these types.
const (
	niciraSetPacketInFormat uint32 = 16
	niciraResume            uint32 = 28
	niciraPacketIn2         uint32 = 30
)

// packetInFormat2 is NXPIF_NXT_PACKET_IN2.
const packetInFormat2 uint32 = 2

// waitingPackets is how many packets may wait for their receiver.
const waitingPackets = 256

// asyncMasks are the properties of OFPT_SET_ASYNC for a connection that has not
// given up its rights, by the messages that they are about (the specification,
// "Asynchronous Configuration Message", enum ofp_async_config_prop_type).
const (
	asyncPacketIn       uint16 = 1
	asyncPortStatus     uint16 = 3
	asyncFlowRemoved    uint16 = 5
	asyncRoleStatus     uint16 = 7
	asyncTableStatus    uint16 = 9
	asyncRequestForward uint16 = 11
)

// Packets makes the switch send packets to this connection that are meant for a
// controller (number 0) for one of the given reasons, and returns where they arrive;
// the channel is closed when the connection is lost. A connection has one such
// channel.
//
// 256 packets may wait there. What comes beyond that is dropped and counted (see
// PacketsDropped): a receiver that is slow holds up nothing else. How many the
// switch sends is for a meter to limit.
func (c *Conn) Packets(ctx context.Context, reasons ...PacketInReason) (<-chan PacketIn, error) {
	ch := make(chan PacketIn, waitingPackets)
	if err := open(c, &c.packets, ch); err != nil {
		return nil, fmt.Errorf("receive packets: %w", err)
	}
	refused, err := c.command(ctx, 2, func(e *encoder, xid uint32, i int) {
		if i == 0 {
			start := e.beginNicira(xid, niciraSetPacketInFormat)
			e.u32(packetInFormat2)
			e.end(start)
			return
		}
		e.setAsync(xid, reasons)
	})
	if err == nil && len(refused) > 0 {
		err = refused[0].err
	}
	if err != nil {
		abandon(c, &c.packets)
		return nil, fmt.Errorf("receive packets: %w", err)
	}
	return ch, nil
}

// PacketsDropped counts the packets that came while 256 were waiting, or that could
// not be read.
func (c *Conn) PacketsDropped() uint64 { return c.packetsDropped.Load() }

// open sets up a channel for what the switch will send unasked. Only the reader
// sends to it and closes it.
func open[T any](c *Conn, at *chan T, ch chan T) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.deaf:
		return c.cause
	case *at != nil:
		return errors.New("this connection does so already")
	}
	*at = ch
	return nil
}

// abandon makes a channel as if it had not been set up.
func abandon[T any](c *Conn, at *chan T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*at = nil
}

// closeChannels tells all receivers that nothing more will come.
func (c *Conn) closeChannels() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
	if c.packets != nil {
		close(c.packets)
	}
	if c.watch.ch != nil {
		close(c.watch.ch)
	}
}

// unasked takes a message that is no answer, in the reader's goroutine, and tells
// whether it is of a kind that somebody may be waiting for. It never waits.
func (c *Conn) unasked(m message) bool {
	d := decoder{b: m.body}
	switch m.kind {
	case kindPacketIn:
		c.packetCame(d.packetIn(), d.err)
	case kindExperimenter:
		vendor, typ := d.u32(), d.u32()
		if d.err != nil || vendor != vendorNicira || typ != niciraPacketIn2 {
			return false
		}
		c.packetCame(d.packetIn2(), d.err)
	case kindMultipartReply:
		if typ := d.u16(); typ != multipartFlowMonitor || m.xid != 0 {
			return false
		}
		d.skip(6)
		c.flowsChanged(&d)
	default:
		return false
	}
	return true
}

func (c *Conn) packetCame(p PacketIn, err error) {
	c.mu.Lock()
	ch := c.packets
	c.mu.Unlock()
	if err != nil {
		c.log.Debug("packet-in that cannot be read", "socket", c.socket, "err", err)
	}
	if ch == nil || err != nil || len(ch) == cap(ch) { // nobody else sends
		c.packetsDropped.Add(1)
		return
	}
	ch <- p.own()
}

// beginNicira starts a message of Open vSwitch's own.
func (e *encoder) beginNicira(xid, typ uint32) (start int) {
	start = e.begin(kindExperimenter, xid)
	e.u32(vendorNicira)
	e.u32(typ)
	return start
}

// setAsync appends OFPT_SET_ASYNC: packets for these reasons, and nothing else that
// is not asked for. Open vSwitch sends nothing unasked on a management socket until
// it gets this message.
func (e *encoder) setAsync(xid uint32, reasons []PacketInReason) {
	start := e.begin(kindSetAsync, xid)
	for _, typ := range []uint16{asyncPacketIn, asyncPortStatus, asyncFlowRemoved, asyncRoleStatus, asyncTableStatus, asyncRequestForward} {
		var mask uint32
		for _, r := range reasons {
			if typ == asyncPacketIn {
				mask |= 1 << (r & 31)
			}
		}
		e.u16(typ)
		e.u16(8)
		e.u32(mask)
	}
	e.end(start)
}
