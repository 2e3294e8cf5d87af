package openflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cni/sluice/flows"
)

// Commands of a meter mod (the specification, "Meter Modification Message", enum
// ofp_meter_mod_command).
const (
	meterAdd    uint16 = 0
	meterModify uint16 = 1
	meterDelete uint16 = 2
)

// Flags of a meter (enum ofp_meter_flags).
const (
	meterKbps    uint16 = 1 << 0
	meterPackets uint16 = 1 << 1
	meterBurst   uint16 = 1 << 2
	meterStats   uint16 = 1 << 3
)

// allMeters is OFPM_ALL.
const allMeters uint32 = 0xffffffff

// putMeters puts meters in, in place of those with the same number, whose flows
// stay. OpenFlow has no command for that: those that are there are modified, the
// others added.
func (c *Conn) putMeters(ctx context.Context, list []flows.Meter) error {
	for _, m := range list {
		if err := m.Check(); err != nil {
			return &MeterError{m, err}
		}
	}
	held, err := c.DumpMeters(ctx)
	if err != nil {
		return err
	}
	there := make(map[uint32]bool, len(held))
	for _, e := range held {
		there[e.Meter.ID] = true
	}
	return c.meterMods(ctx, list, func(m flows.Meter) uint16 {
		if there[m.ID] {
			return meterModify
		}
		there[m.ID] = true
		return meterAdd
	})
}

// removeMeters takes meters out, and with each the flows that still name it; the
// switch says nothing of one that is not there.
func (c *Conn) removeMeters(ctx context.Context, ids []uint32) error {
	list := make([]flows.Meter, len(ids))
	for i, id := range ids {
		list[i].ID = id
	}
	return c.meterMods(ctx, list, func(flows.Meter) uint16 { return meterDelete })
}

// meterMods does to each meter what command says. Its error wraps a *MeterError for
// each that was refused.
func (c *Conn) meterMods(ctx context.Context, list []flows.Meter, command func(flows.Meter) uint16) error {
	refused, err := c.command(ctx, len(list), func(e *encoder, xid uint32, i int) {
		if e.meterMod(xid, command(list[i]), list[i]); e.err != nil {
			e.err = &MeterError{list[i], e.err}
		}
	})
	errs := make([]error, 0, len(refused)+1)
	for _, r := range refused {
		errs = append(errs, &MeterError{list[r.i], r.err})
	}
	return errors.Join(append(errs, err)...)
}

// meterMod appends struct ofp_meter_mod.
func (e *encoder) meterMod(xid uint32, command uint16, m flows.Meter) {
	start := e.begin(kindMeterMod, xid)
	e.u16(command)
	e.u16(flagsOf(m))
	e.u32(m.ID)
	for _, b := range m.Bands {
		e.band(b)
	}
	e.end(start)
}

func flagsOf(m flows.Meter) uint16 {
	f := meterKbps
	if m.Unit == flows.PacketsPerSecond {
		f = meterPackets
	}
	if m.HasBurst() {
		f |= meterBurst
	}
	if m.Stats {
		f |= meterStats
	}
	return f
}

// band appends struct ofp_meter_band_drop or ofp_meter_band_dscp_remark.
func (e *encoder) band(b flows.Band) {
	e.u16(uint16(b.Type))
	e.u16(16)
	e.u32(b.Rate)
	e.u32(b.Burst)
	e.u8(b.PrecLevel) // padding in a drop band, where it is 0
	e.zero(3)
}

// MeterEntry is a meter that the switch holds.
type MeterEntry struct {
	Meter flows.Meter
	// Strange says what of it package flows cannot express; of Meter, only ID is set
	// then, which is enough to remove it.
	Strange string
}

// DumpMeters reads all meters that the switch holds, in no order.
func (c *Conn) DumpMeters(ctx context.Context) ([]MeterEntry, error) {
	return dump(ctx, c, "dump meters", multipartMeterDesc, every(allMeters), (*decoder).meterDesc)
}

// meterDesc reads one struct ofp_meter_desc.
func (d *decoder) meterDesc() MeterEntry {
	n := int(d.u16())
	body := d.sub(n - 2)
	flags := body.u16()
	entry := MeterEntry{Meter: flows.Meter{ID: body.u32(), Stats: flags&meterStats != 0}}
	switch flags &^ (meterBurst | meterStats) {
	case meterKbps:
	case meterPackets:
		entry.Meter.Unit = flows.PacketsPerSecond
	default:
		entry.Strange = fmt.Sprintf("meter with flags %#x", flags)
	}
	for body.more() {
		b := body.band()
		if flags&meterBurst == 0 {
			b.Burst = 0 // the switch has filled in what it makes of none
		}
		entry.Meter.Bands = append(entry.Meter.Bands, b)
	}
	d.fail(body.err)
	if err := entry.Meter.Check(); err != nil && entry.Strange == "" {
		entry.Strange = err.Error()
	}
	if entry.Strange != "" {
		entry.Meter = flows.Meter{ID: entry.Meter.ID}
	}
	return entry
}

func (d *decoder) band() (b flows.Band) {
	typ, n := d.u16(), int(d.u16())
	body := d.sub(n - 4)
	b = flows.Band{Rate: body.u32(), Burst: body.u32()}
	if typ <= uint16(flows.BandDSCPRemark) {
		b.Type = flows.BandType(typ)
	}
	if b.Type == flows.BandDSCPRemark {
		b.PrecLevel = body.u8()
	}
	d.fail(body.err)
	return b
}

// MeterStats are a meter's counters.
type MeterStats struct {
	ID uint32
	// Flows is how many flows name it, always 0 in Open vSwitch 3.1.
	Flows uint32
	// In is what came to the meter, Bands what exceeded each band.
	In    flows.Stats
	Bands []flows.Stats
	// Age is how long the meter has existed.
	Age time.Duration
}

// MeterStats reads the counters of all meters, in no order.
func (c *Conn) MeterStats(ctx context.Context) ([]MeterStats, error) {
	return dump(ctx, c, "read the meters' counters", multipartMeterStats, every(allMeters), (*decoder).meterStats)
}

// meterStats reads one struct ofp_meter_stats.
func (d *decoder) meterStats() MeterStats {
	s := MeterStats{ID: d.u32()}
	n := int(d.u16())
	body := d.sub(n - 6)
	body.skip(6)
	s.Flows = body.u32()
	s.In = body.counters()
	s.Age = body.age()
	for body.more() {
		s.Bands = append(s.Bands, body.counters())
	}
	d.fail(body.err)
	return s
}

// MeterFeatures are what meters the switch can have.
type MeterFeatures struct {
	// Most is how many there may be, MostBands how many bands each may have.
	Most      uint32
	MostBands uint8
	// Drop and DSCPRemark tell which types of bands it has.
	Drop, DSCPRemark bool
}

// MeterFeatures asks what meters the switch can have.
func (c *Conn) MeterFeatures(ctx context.Context) (MeterFeatures, error) {
	list, err := dump(ctx, c, "ask for the meters' features", multipartMeterFeatures, nil, (*decoder).meterFeatures)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("ask for the meters' features: %d answers", len(list))
	}
	if err != nil {
		return MeterFeatures{}, err
	}
	return list[0], nil
}

// meterFeatures reads struct ofp_meter_features.
func (d *decoder) meterFeatures() MeterFeatures {
	f := MeterFeatures{Most: d.u32()}
	types := d.u32()
	f.Drop, f.DSCPRemark = types&(1<<flows.BandDrop) != 0, types&(1<<flows.BandDSCPRemark) != 0
	d.skip(4) // capabilities
	f.MostBands = d.u8()
	d.skip(3)
	return f
}
