package openflow

import (
	"bytes"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Commands of a group mod (the specification, "Modify Group Entry Message").
const (
	groupDelete uint16 = 2
	// groupPut is OFPGC_ADD_OR_MOD, Open vSwitch's extension (openflow-1.1.h).
	groupPut uint16 = 0x8000
)

const (
	groupSelect uint8 = 1 // OFPGT_SELECT
	// allBuckets is OFPG_BUCKET_ALL.
	allBuckets uint32 = 0xffffffff
	// allGroups is OFPG_ALL.
	allGroups uint32 = 0xfffffffc

	bucketWeight      uint16 = 0 // OFPGBPT_WEIGHT
	groupExperimenter uint16 = 0xffff

	// The group property that says how a bucket is selected (netronome-ext.h,
	// NTRT_SELECTION_METHOD).
	vendorNetronome uint32 = 0x0000154d
	selectionMethod uint32 = 1
	methodLen              = 16
)

// putGroup appends a group mod that puts a group in, in place of one with its number.
func (e *encoder) putGroup(xid uint32, g flows.Group) {
	start := e.begin(kindGroupMod, xid)
	e.u16(groupPut)
	e.u8(groupSelect)
	e.zero(1)
	e.u32(g.ID)
	lengthAt := len(e.b)
	e.u16(0) // bucket_array_len
	e.zero(2)
	e.u32(allBuckets)
	buckets := len(e.b)
	for _, b := range g.Buckets {
		e.bucket(b)
	}
	e.length(lengthAt, buckets)
	e.selection(g)
	e.end(start)
}

// bucket appends struct ofp_bucket with its weight.
func (e *encoder) bucket(b flows.Bucket) {
	start := len(e.b)
	e.u16(0)
	e.u16(0) // action_array_len
	e.u32(b.ID)
	actions := len(e.b)
	e.actions(b.Actions, protoAny)
	e.length(start+2, actions)
	e.u16(bucketWeight)
	e.u16(8)
	e.u16(b.Weight)
	e.zero(2)
	e.length(start, start)
}

// selection appends struct ntr_group_prop_selection_method, if there is a method.
func (e *encoder) selection(g flows.Group) {
	if g.Method == "" {
		return
	}
	if len(g.Method) >= methodLen {
		e.fail(fmt.Errorf("selection method %q has more than %d bytes", g.Method, methodLen-1))
		return
	}
	start := len(e.b)
	e.u16(groupExperimenter)
	e.u16(0)
	e.u32(vendorNetronome)
	e.u32(selectionMethod)
	e.zero(4)
	e.bytes([]byte(g.Method))
	e.zero(methodLen - len(g.Method))
	e.u64(0) // selection_method_param
	for _, f := range g.Fields {
		o, err := lookup(f, protoAny)
		if err != nil {
			e.fail(err)
			return
		}
		e.u32(o.header(false))
		ones := allOnes(f)
		e.bytes(ones[16-o.width():]) // the bits that are hashed
	}
	e.length(start+2, start)
	e.pad(start)
}

// removeGroup appends a group mod that deletes a group and the flows that name it.
func (e *encoder) removeGroup(xid uint32, id uint32) {
	start := e.begin(kindGroupMod, xid)
	e.u16(groupDelete)
	e.u8(groupSelect)
	e.zero(1)
	e.u32(id)
	e.zero(4)
	e.u32(allBuckets)
	e.end(start)
}

// groupDescRequest appends the body of a request for all groups.
func (e *encoder) groupDescRequest() {
	e.u32(allGroups)
	e.zero(4)
}

// groupDesc reads one struct ofp_group_desc.
func (d *decoder) groupDesc() GroupEntry {
	n := int(d.u16())
	body := d.sub(n - 2)
	typ := body.u8()
	body.skip(1)
	var entry GroupEntry
	entry.Group.ID = body.u32()
	bucketsLen := int(body.u16())
	body.skip(6)
	buckets := body.sub(bucketsLen)
	if typ != groupSelect {
		entry.Strange = fmt.Sprintf("group type %d", typ)
	}
	for buckets.more() {
		b, odd := buckets.bucket()
		if odd != "" {
			entry.Strange = odd
		}
		entry.Group.Buckets = append(entry.Group.Buckets, b)
	}
	body.fail(buckets.err)
	for body.more() {
		typ, n := body.u16(), int(body.u16())
		prop := body.sub(n - 4)
		body.skip(min(padded(n)-n, len(body.b)))
		if odd := prop.selection(typ, &entry.Group); odd != "" {
			entry.Strange = odd
		}
		body.fail(prop.err)
	}
	d.fail(body.err)
	if entry.Strange != "" {
		entry.Group = flows.Group{ID: entry.Group.ID}
	}
	return entry
}

// bucket reads struct ofp_bucket.
func (d *decoder) bucket() (b flows.Bucket, strange string) {
	n, actionsLen := int(d.u16()), int(d.u16())
	body := d.sub(n - 4)
	b.ID = body.u32()
	actions := body.sub(actionsLen)
	b.Actions, strange = actions.actions(protoAny)
	body.fail(actions.err)
	for body.more() {
		typ, n := body.u16(), int(body.u16())
		prop := body.sub(n - 4)
		if typ == bucketWeight {
			b.Weight = prop.u16()
			body.fail(prop.err)
		} else {
			strange = fmt.Sprintf("unknown bucket property %d", typ)
		}
	}
	d.fail(body.err)
	return b, strange
}

// selection reads the body of a group property into g.
func (d *decoder) selection(typ uint16, g *flows.Group) (strange string) {
	if typ != groupExperimenter {
		return fmt.Sprintf("unknown group property %d", typ)
	}
	vendor, subtype := d.u32(), d.u32()
	if d.err == nil && (vendor != vendorNetronome || subtype != selectionMethod) {
		return fmt.Sprintf("unknown group property %#08x:%d", vendor, subtype)
	}
	d.skip(4)
	method := d.take(methodLen)
	if param := d.u64(); param != 0 {
		strange = fmt.Sprintf("selection_method_param=%d", param)
	}
	name, _, _ := bytes.Cut(method, []byte{0})
	g.Method = string(name)
	for d.more() {
		o, value, mask, odd := d.oxm()
		switch {
		case d.err != nil:
		case odd != "":
			strange = odd
		case value != allOnes(o.field) || mask != value || o.proto != protoAny:
			strange = "hash over a part of " + o.field.String()
		default:
			g.Fields = append(g.Fields, o.field)
		}
	}
	return strange
}
