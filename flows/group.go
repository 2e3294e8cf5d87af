package flows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Group is an OpenFlow group of type select: each connection goes to one bucket.
type Group struct {
	ID uint32
	// Method is "dp_hash" or "hash" (ovs-ofctl(8), selection_method).
	Method string
	// Fields are hashed with method "hash".
	Fields  []Field
	Buckets []Bucket
}

// Bucket is one choice of a group.
type Bucket struct {
	ID      uint32
	Weight  uint16
	Actions []Action
}

// CompareGroups is the order of groups: by number.
func CompareGroups(a, b Group) int { return cmp.Compare(a.ID, b.ID) }

// Equal tells whether two groups are the same in everything.
func (g Group) Equal(o Group) bool {
	return g.ID == o.ID && g.Method == o.Method && slices.Equal(g.Fields, o.Fields) &&
		slices.EqualFunc(g.Buckets, o.Buckets, func(a, b Bucket) bool {
			return a.ID == b.ID && a.Weight == b.Weight && slices.Equal(a.Actions, b.Actions)
		})
}

// String is the group as a line that `ovs-ofctl add-group` takes.
func (g Group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group_id=%d,type=select", g.ID)
	if g.Method != "" {
		b.WriteString(",selection_method=" + g.Method)
	}
	if len(g.Fields) > 0 {
		names := make([]string, len(g.Fields))
		for i, f := range g.Fields {
			names[i] = fieldTable[f].setName()
		}
		if len(names) == 1 {
			b.WriteString(",fields=" + names[0])
		} else {
			b.WriteString(",fields(" + strings.Join(names, ",") + ")")
		}
	}
	for _, bucket := range g.Buckets {
		fmt.Fprintf(&b, ",bucket=bucket_id:%d,weight:%d,actions=%s", bucket.ID, bucket.Weight, actionsText(bucket.Actions))
	}
	return b.String()
}
