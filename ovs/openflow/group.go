package openflow

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Commands of a group mod (the specification, "Modify Group Entry Message").
const (
	groupDelete        uint16 = 2
	groupInsertBuckets uint16 = 3
	groupRemoveBuckets uint16 = 5
	// groupPut is OFPGC_ADD_OR_MOD, Open vSwitch's extension (openflow-1.1.h).
	groupPut uint16 = 0x8000
)

const (
	// allBuckets is OFPG_BUCKET_ALL, lastBucket OFPG_BUCKET_LAST.
	allBuckets uint32 = 0xffffffff
	lastBucket uint32 = 0xfffffffe
	// allGroups is OFPG_ALL.
	allGroups uint32 = 0xfffffffc

	// Properties of a bucket (enum ofp_group_bucket_prop_type).
	bucketWeight     uint16 = 0
	bucketWatchPort  uint16 = 1
	bucketWatchGroup uint16 = 2

	groupExperimenter uint16 = 0xffff

	// The group property that says how a bucket is selected (netronome-ext.h,
	// NTRT_SELECTION_METHOD).
	vendorNetronome uint32 = 0x0000154d
	selectionMethod uint32 = 1
	methodLen              = 16
)

// groupTypes are the types' numbers (enum ofp_group_type).
var groupTypes = [...]flows.GroupType{flows.GroupAll, flows.GroupSelect, flows.GroupIndirect, flows.GroupFastFailover}

func (e *encoder) groupType(t flows.GroupType) {
	for n, typ := range groupTypes {
		if typ == t {
			e.u8(uint8(n))
			return
		}
	}
	e.fail(fmt.Errorf("group of %s", t))
}

// putGroup appends a group mod that puts a group in, in place of one with its number.
func (e *encoder) putGroup(xid uint32, g flows.Group) { e.groupMod(xid, groupPut, allBuckets, g) }

// removeBucket appends a group mod that takes one bucket out.
func (e *encoder) removeBucket(xid uint32, id BucketID) {
	e.groupMod(xid, groupRemoveBuckets, id.Bucket, flows.Group{ID: id.Group})
}

// removeGroup appends a group mod that deletes a group and the flows that name it.
func (e *encoder) removeGroup(xid uint32, id uint32) {
	e.groupMod(xid, groupDelete, allBuckets, flows.Group{ID: id})
}

// groupMod appends struct ofp_group_mod. at is the bucket that the command is about.
func (e *encoder) groupMod(xid uint32, command uint16, at uint32, g flows.Group) {
	start := e.begin(kindGroupMod, xid)
	e.u16(command)
	e.groupType(g.Type)
	e.zero(1)
	e.u32(g.ID)
	lengthAt := len(e.b)
	e.u16(0) // bucket_array_len
	e.zero(2)
	e.u32(at)
	buckets := len(e.b)
	for _, b := range g.Buckets {
		e.bucket(b, g.Type)
	}
	e.length(lengthAt, buckets)
	e.selection(g)
	e.end(start)
}

// bucket appends struct ofp_bucket. Only a group of type select has weights.
func (e *encoder) bucket(b flows.Bucket, t flows.GroupType) {
	start := len(e.b)
	e.u16(0)
	e.u16(0) // action_array_len
	e.u32(b.ID)
	actions := len(e.b)
	e.actions(b.Actions)
	e.length(start+2, actions)
	if t == flows.GroupSelect {
		e.property(bucketWeight, func() { e.u16(b.Weight) })
	}
	if b.WatchPort != 0 {
		e.property(bucketWatchPort, func() { e.u32(b.WatchPort) })
	}
	if b.WatchGroup != 0 {
		e.property(bucketWatchGroup, func() { e.u32(b.WatchGroup) })
	}
	e.length(start, start)
}

// selection appends struct ntr_group_prop_selection_method, if there is a method.
func (e *encoder) selection(g flows.Group) {
	if g.Method == "" {
		if len(g.Fields) > 0 || g.Param != 0 {
			e.fail(errors.New("fields and parameter belong to a selection method, of which there is none"))
		}
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
	e.u64(g.Param)
	for i, f := range g.Fields {
		if f.Variable() {
			e.fail(fmt.Errorf("a group cannot hash %s", f))
			return
		}
		mask := g.Mask(i)
		e.u32(uint32(headers[f]))
		e.bytes(mask[16-f.Width():]) // the bits that are hashed
	}
	e.length(start+2, start)
	e.pad(start)
}

// groupDescRequest appends the body of a request for a group, or allGroups.
func (e *encoder) groupDescRequest(id uint32) {
	e.u32(id)
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
	if int(typ) < len(groupTypes) {
		entry.Group.Type = groupTypes[typ]
	} else {
		entry.Strange = fmt.Sprintf("group type %d", typ)
	}
	for buckets.more() {
		b, odd := buckets.bucket()
		if odd != "" {
			entry.Strange = odd
		}
		if entry.Group.Type != flows.GroupSelect {
			b.Weight = 0 // it has no meaning there
		}
		entry.Group.Buckets = append(entry.Group.Buckets, b)
	}
	body.fail(buckets.err)
	for body.more() {
		typ, prop := body.property()
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
	b.Actions = actions.actions()
	body.fail(actions.err)
	for body.more() {
		typ, prop := body.property()
		switch typ {
		case bucketWeight:
			b.Weight = prop.u16()
		case bucketWatchPort:
			b.WatchPort = watched(prop.u32())
		case bucketWatchGroup:
			b.WatchGroup = watched(prop.u32())
		default:
			strange = fmt.Sprintf("unknown bucket property %d", typ)
		}
		body.fail(prop.err)
	}
	d.fail(body.err)
	if b.ID > flows.MaxBucket {
		strange = fmt.Sprintf("a bucket's number that means others: %#x", b.ID)
	}
	return b, strange
}

// watched is whose life a bucket depends on: 0 for OFPP_ANY and OFPG_ANY.
func watched(n uint32) uint32 {
	if n == anyone {
		return 0
	}
	return n
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
	g.Param = d.u64()
	name, _, _ := bytes.Cut(method, []byte{0})
	g.Method = string(name)
	if d.err == nil && !flows.SpeakableMethod(g.Method) {
		strange = fmt.Sprintf("selection method %q", name)
	}
	for d.more() {
		t, odd := d.oxm()
		switch {
		case d.err != nil:
		case odd != "":
			strange = odd
		case t.Mask != t.Field.Ones() || t.Field.Variable():
			strange = "hash over " + t.Field.Name()
		default:
			*g = g.Hash(t.Field, t.Value)
		}
	}
	return strange
}
