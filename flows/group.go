package flows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Group is an OpenFlow group.
type Group struct {
	ID   uint32
	Type GroupType
	// Method is "dp_hash" or "hash" (ovs-ofctl(8), selection_method), Param its parameter.
	Method string
	Param  uint64
	// Fields are hashed with method "hash", or the bits of them that Masks[i] has; no
	// Masks are all bits.
	Fields  []Field
	Masks   []Value
	Buckets []Bucket
}

// GroupType is how a group chooses buckets.
type GroupType uint8

// The types. The zero one is select: each connection goes to one bucket.
const (
	GroupSelect GroupType = iota
	GroupAll
	GroupIndirect
	GroupFastFailover
	numGroupTypes
)

var groupTypeWords = [numGroupTypes]string{"select", "all", "indirect", "ff"}

func (t GroupType) String() string {
	if t < numGroupTypes {
		return groupTypeWords[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// MaxBucket is the highest number of a bucket, OFPG_BUCKET_MAX: those above mean others.
const MaxBucket uint32 = 0xffffff00

// Bucket is one choice of a group.
type Bucket struct {
	ID uint32
	// Weight is a bucket's share in a group of type select; the others have none.
	Weight uint16
	// WatchPort and WatchGroup are whose life decides of the bucket's; 0 nobody's.
	WatchPort, WatchGroup uint32
	Actions               []Action
}

// CompareGroups is the order of groups: by number.
func CompareGroups(a, b Group) int { return cmp.Compare(a.ID, b.ID) }

// Equal tells whether two groups are the same in everything. In which order the fields
// stand does not matter: a switch keeps its own.
func (g Group) Equal(o Group) bool {
	return g.ID == o.ID && g.Type == o.Type && g.Method == o.Method && g.Param == o.Param &&
		slices.Equal(g.hashed(), o.hashed()) && slices.EqualFunc(g.Buckets, o.Buckets, Bucket.Equal)
}

// Equal tells whether two buckets are the same in everything.
func (b Bucket) Equal(o Bucket) bool {
	return b.ID == o.ID && b.Weight == o.Weight && b.WatchPort == o.WatchPort && b.WatchGroup == o.WatchGroup &&
		EqualActions(b.Actions, o.Actions)
}

// hashed are the fields with their masks, sorted.
func (g Group) hashed() []Term {
	out := make([]Term, len(g.Fields))
	for i, f := range g.Fields {
		out[i] = Term{Field: f, Mask: g.Mask(i)}
	}
	sortTerms(out)
	return out
}

// Mask is the bits of the i-th of the group's Fields that are hashed.
func (g Group) Mask(i int) Value {
	if i < len(g.Masks) {
		return g.Masks[i]
	}
	return g.Fields[i].Ones()
}

// Hash is the group with one more field whose bits in mask are hashed.
func (g Group) Hash(f Field, mask Value) Group {
	if mask != f.Ones() && g.Masks == nil {
		for _, f := range g.Fields {
			g.Masks = append(g.Masks, f.Ones())
		}
	}
	g.Fields = append(g.Fields, f)
	if g.Masks != nil || mask != f.Ones() {
		g.Masks = append(g.Masks, mask)
	}
	return g
}

// String is the group as a line that `ovs-ofctl add-group` takes.
func (g Group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group_id=%d,type=%s", g.ID, g.Type)
	if g.Method != "" {
		b.WriteString(",selection_method=" + g.Method)
	}
	if g.Param != 0 {
		fmt.Fprintf(&b, ",selection_method_param=%d", g.Param)
	}
	if len(g.Fields) > 0 {
		names := make([]string, len(g.Fields))
		for i, f := range g.Fields {
			names[i] = f.Name()
			if mask := g.Mask(i); mask != f.Ones() {
				names[i] += "=" + f.text(mask)
			}
		}
		if len(names) == 1 {
			b.WriteString(",fields=" + names[0])
		} else {
			b.WriteString(",fields(" + strings.Join(names, ",") + ")")
		}
	}
	for _, bucket := range g.Buckets {
		b.WriteString(",bucket=" + bucket.text(g.Type))
	}
	return b.String()
}

func (b Bucket) text(t GroupType) string {
	text := fmt.Sprintf("bucket_id:%d", b.ID)
	if t == GroupSelect && b.Weight != 1 {
		text += fmt.Sprintf(",weight:%d", b.Weight)
	}
	if b.WatchPort != 0 {
		text += ",watch_port:" + portText(b.WatchPort)
	}
	if b.WatchGroup != 0 {
		text += fmt.Sprintf(",watch_group:%d", b.WatchGroup)
	}
	return text + ",actions=" + actionsText(b.Actions)
}
