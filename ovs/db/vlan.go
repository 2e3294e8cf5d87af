package db

import (
	"slices"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// NoTag is the Tag of a port that carries no untagged frames.
const NoTag = -1

// VLANs are what a port carries on a bridge that forwards as an Ethernet switch (action
// NORMAL); see tag, trunks and vlan_mode in ovs-vswitchd.conf.db(5). On a bridge with a
// pipeline of its own they say nothing.
type VLANs struct {
	// Tag is the VLAN in which frames without a tag are, 1 to 4094; 0: they are in none,
	// which is the VLAN of a switch's untagged ports; NoTag: there are no such frames.
	Tag int
	// Trunks are the VLANs that are carried with their tag, sorted; none: Tag alone.
	Trunks []int
}

func (v VLANs) set(port *vswitch.Port) {
	mode := vswitch.PortVLANModeAccess
	switch {
	case len(v.Trunks) > 0 && v.Tag == NoTag:
		mode = vswitch.PortVLANModeTrunk
	case len(v.Trunks) > 0:
		mode = vswitch.PortVLANModeNativeUntagged
	}
	port.Tag, port.Trunks, port.VLANMode = nil, v.Trunks, &mode
	if v.Tag != NoTag {
		port.Tag = &v.Tag
	}
}

// vlansOf reads them; nil for a port to which nothing was said, which carries all.
func vlansOf(port *vswitch.Port) *VLANs {
	if port.Tag == nil && len(port.Trunks) == 0 && port.VLANMode == nil {
		return nil
	}
	v := &VLANs{Tag: NoTag, Trunks: slices.Sorted(slices.Values(port.Trunks))}
	if port.Tag != nil {
		v.Tag = *port.Tag
	}
	return v
}

// changeVLANs makes an existing port carry these.
func (t *transaction) changeVLANs(port *vswitch.Port, want *VLANs) {
	if want == nil {
		return
	}
	var as vswitch.Port
	want.set(&as)
	if slices.Equal(slices.Sorted(slices.Values(port.Trunks)), as.Trunks) && same(port.Tag, as.Tag) && same(port.VLANMode, as.VLANMode) {
		return
	}
	port.Tag, port.Trunks, port.VLANMode = as.Tag, as.Trunks, as.VLANMode
	t.update(port, &port.Tag, &port.Trunks, &port.VLANMode)
}

func same[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}
