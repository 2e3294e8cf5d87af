package openflow

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/sluice-cni/sluice/flows"
)

// every is the body of a request for one number, or all by the number that says so.
func every(number uint32) []byte {
	var e encoder
	e.u32(number)
	e.zero(4)
	return e.b
}

// counters reads packets and bytes, as most statistics have them.
func (d *decoder) counters() flows.Stats { return flows.Stats{Packets: d.u64(), Bytes: d.u64()} }

// age reads duration_sec and duration_nsec.
func (d *decoder) age() time.Duration {
	seconds, nanoseconds := d.u32(), d.u32()
	return time.Duration(seconds)*time.Second + time.Duration(nanoseconds)
}

// GroupStats are a group's counters.
type GroupStats struct {
	ID uint32
	// References is how many flows and groups name it.
	References uint32
	Total      flows.Stats
	// Buckets are in the group's order.
	Buckets []flows.Stats
	// Age is how long the group has existed.
	Age time.Duration
}

// GroupStats reads the counters of all groups, in no order.
func (c *Conn) GroupStats(ctx context.Context) ([]GroupStats, error) {
	return dump(ctx, c, "read the groups' counters", multipartGroupStats, every(allGroups), (*decoder).groupStats)
}

// groupStats reads one struct ofp_group_stats.
func (d *decoder) groupStats() GroupStats {
	n := int(d.u16())
	body := d.sub(n - 2)
	body.skip(2)
	s := GroupStats{ID: body.u32(), References: body.u32()}
	body.skip(4)
	s.Total = body.counters()
	s.Age = body.age()
	for body.more() {
		s.Buckets = append(s.Buckets, body.counters())
	}
	d.fail(body.err)
	return s
}

// TableStats are a table's counters.
type TableStats struct {
	Table flows.TableID
	// Flows is how many it holds.
	Flows uint32
	// Lookups is how many packets came to the table, Matched how many of them found
	// a flow there.
	Lookups, Matched uint64
}

// TableStats reads the counters of all 254 tables.
func (c *Conn) TableStats(ctx context.Context) ([]TableStats, error) {
	return dump(ctx, c, "read the tables' counters", multipartTableStats, nil, (*decoder).tableStats)
}

// tableStats reads struct ofp_table_stats.
func (d *decoder) tableStats() TableStats {
	s := TableStats{Table: flows.TableID(d.u8())}
	d.skip(3)
	s.Flows, s.Lookups, s.Matched = d.u32(), d.u64(), d.u64()
	return s
}

// PortStats are a port's counters, seen from the switch. What the switch does not
// count is all ones.
type PortStats struct {
	Port uint32
	// Received came from outside into the switch, Sent went out.
	Received, Sent              flows.Stats
	ReceiveDropped, SendDropped uint64 // packets
	ReceiveErrors, SendErrors   uint64 // packets
	Age                         time.Duration
}

// PortStats reads the counters of all ports, in no order.
func (c *Conn) PortStats(ctx context.Context) ([]PortStats, error) {
	return dump(ctx, c, "read the ports' counters", multipartPortStats, every(anyone), (*decoder).portStats)
}

// portStats reads one struct ofp_port_stats without its properties.
func (d *decoder) portStats() PortStats {
	n := int(d.u16())
	body := d.sub(n - 2)
	body.skip(2)
	s := PortStats{Port: body.u32(), Age: body.age()}
	s.Received.Packets, s.Sent.Packets = body.u64(), body.u64()
	s.Received.Bytes, s.Sent.Bytes = body.u64(), body.u64()
	s.ReceiveDropped, s.SendDropped = body.u64(), body.u64()
	s.ReceiveErrors, s.SendErrors = body.u64(), body.u64()
	d.fail(body.err)
	return s
}

// Port describes one of the bridge's ports.
type Port struct {
	Number uint32
	// Name is that of its device, of which OpenFlow keeps 15 bytes.
	Name string
	MAC  net.HardwareAddr
	// Down is set if the administrator has switched the device off, NoLink if it has
	// no carrier.
	Down, NoLink bool
}

// Ports describes all ports, in no order.
func (c *Conn) Ports(ctx context.Context) ([]Port, error) {
	return dump(ctx, c, "describe the ports", multipartPortDesc, every(anyone), (*decoder).portDesc)
}

const (
	portNameLen        = 16
	portDown    uint32 = 1 << 0 // OFPPC_PORT_DOWN
	portNoLink  uint32 = 1 << 0 // OFPPS_LINK_DOWN
)

// portDesc reads one struct ofp_port without its properties.
func (d *decoder) portDesc() Port {
	p := Port{Number: d.u32()}
	n := int(d.u16())
	body := d.sub(n - 6)
	body.skip(2)
	p.MAC = bytes.Clone(body.take(6))
	body.skip(2)
	name, _, _ := bytes.Cut(body.take(portNameLen), []byte{0})
	p.Name = string(name)
	config, state := body.u32(), body.u32()
	p.Down, p.NoLink = config&portDown != 0, state&portNoLink != 0
	d.fail(body.err)
	return p
}
