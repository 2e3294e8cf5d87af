package conf

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Layer2 is a second network: a port of a bridge that the operator has made, or a device
// of the host's. The zero value is none of it, but a place on the pod network.
type Layer2 struct {
	// Bridge ("bridge") is the Open vSwitch bridge of the operator's on which the port is.
	Bridge string
	// VLAN ("vlan") is the VLAN of frames without a tag, 1 to 4094; 0: they have none.
	VLAN int
	// Trunk ("trunk") are the VLANs whose frames keep their tag, sorted. With Trunk and
	// without VLAN there are no frames without a tag.
	Trunk []int
	// Device ("device") is the device that is moved into the container, by its name.
	Device string
	// SpoofGuard ("macspoofchk"): only frames from the container's own MAC and Allowed
	// ("allowed") leave it.
	SpoofGuard bool
	Allowed    []net.HardwareAddr
	// Promiscuous ("promiscMode"): the container's interface takes frames for any MAC.
	Promiscuous bool
}

// Is tells whether the conf is of a second network.
func (l Layer2) Is() bool { return l.Bridge != "" || l.Device != "" }

const (
	ownBridge = "br-sluice"
	maxVLAN   = 4094
)

func (f field) bridge(c *Conf) error {
	const expected = "the name of an Open vSwitch bridge of yours, of 1 to 15 bytes"
	if json.Unmarshal(f.value, &c.Layer2.Bridge) != nil || ValidateIfName(c.Layer2.Bridge) != nil {
		return f.bad(expected)
	}
	if c.Layer2.Bridge == ownBridge {
		return f.bad(expected + " (" + ownBridge + " is Sluice's own: leave \"bridge\" out to plug in there)")
	}
	return nil
}

func (f field) device(c *Conf) error {
	if json.Unmarshal(f.value, &c.Layer2.Device) != nil || ValidateIfName(c.Layer2.Device) != nil || c.Layer2.Device == "lo" {
		return f.bad("the name of a device of the host's, of 1 to 15 bytes")
	}
	return nil
}

func (f field) vlan(c *Conf) error {
	if json.Unmarshal(f.value, &c.Layer2.VLAN) != nil || c.Layer2.VLAN < 1 || c.Layer2.VLAN > maxVLAN {
		return f.bad(fmt.Sprintf("a VLAN, 1 to %d", maxVLAN))
	}
	return nil
}

// trunk reads VLANs, each a number or in the words of the bridge plugin: {"id": 7} or
// {"minID": 10, "maxID": 20}.
func (f field) trunk(c *Conf) error {
	var items []json.RawMessage
	if json.Unmarshal(f.value, &items) != nil || len(items) == 0 {
		return f.bad(`a list of VLANs, such as [100, {"minID": 200, "maxID": 210}]`)
	}
	for i, item := range items {
		first, last, err := field{name: fmt.Sprintf("%s[%d]", f.name, i), value: item}.vlans()
		if err != nil {
			return err
		}
		for id := first; id <= last; id++ {
			c.Layer2.Trunk = append(c.Layer2.Trunk, id)
		}
	}
	slices.Sort(c.Layer2.Trunk)
	c.Layer2.Trunk = slices.Compact(c.Layer2.Trunk)
	return nil
}

func (f field) vlans() (first, last int, err error) {
	var o struct {
		ID    *int `json:"id"`
		MinID *int `json:"minID"`
		MaxID *int `json:"maxID"`
	}
	switch {
	case json.Unmarshal(f.value, &first) == nil && !f.null():
		last = first
	case !strings.HasPrefix(strings.TrimSpace(string(f.value)), "{") || f.strict(&o) != nil:
		return 0, 0, f.bad(`a VLAN, {"id"}, or {"minID", "maxID"}`)
	case o.ID != nil && o.MinID == nil && o.MaxID == nil:
		first, last = *o.ID, *o.ID
	case o.ID == nil && o.MinID != nil && o.MaxID != nil:
		first, last = *o.MinID, *o.MaxID
	default:
		return 0, 0, f.bad(`either "id", or "minID" and "maxID"`)
	}
	// 0 is what frames without a tag are in.
	if first < 1 || last > maxVLAN || first > last {
		return 0, 0, f.bad(fmt.Sprintf("VLANs from 1 to %d", maxVLAN))
	}
	return first, last, nil
}

func (f field) spoofGuard(c *Conf) error { return f.boolean(&c.Layer2.SpoofGuard) }

func (f field) promiscuous(c *Conf) error { return f.boolean(&c.Layer2.Promiscuous) }

func (f field) boolean(into *bool) error {
	if !f.null() && json.Unmarshal(f.value, into) != nil {
		return f.bad("true or false")
	}
	return nil
}

// maxAllowed bounds what the guard looks at for each frame.
const maxAllowed = 32

func (f field) allowed(c *Conf) error {
	var list []string
	if json.Unmarshal(f.value, &list) != nil || len(list) == 0 || len(list) > maxAllowed {
		return f.bad(fmt.Sprintf(`a list of at most %d MACs, such as ["00:00:5e:00:01:07"]`, maxAllowed))
	}
	for i, s := range list {
		mac, err := askedMAC(s)
		if err != nil {
			return field{name: fmt.Sprintf("%s[%d]", f.name, i)}.wrong(err)
		}
		c.Layer2.Allowed = append(c.Layer2.Allowed, mac)
	}
	return nil
}

// fitsLayer2 checks the fields of a second network against each other and the others.
func (c *Conf) fitsLayer2() error {
	l := c.Layer2
	refuse := func(field, because, found string) error {
		return invalid(field, "expected none, as "+because, "found "+found)
	}
	needsBridge := `it is of a network with "bridge"`
	switch {
	case l.Bridge != "" && l.Device != "":
		return refuse("device", `there is a "bridge"`, l.Device)
	case l.Bridge == "" && l.VLAN != 0:
		return refuse("vlan", needsBridge, fmt.Sprint(l.VLAN))
	case l.Bridge == "" && l.Trunk != nil:
		return refuse("trunk", needsBridge, fmt.Sprint(l.Trunk))
	case l.Bridge == "" && l.SpoofGuard:
		return refuse("macspoofchk", needsBridge, "true")
	case !l.Is() && l.Promiscuous:
		return refuse("promiscMode", `it is of a network with "bridge" or "device"`, "true")
	case !l.SpoofGuard && l.Allowed != nil:
		return invalid("macspoofchk", `expected true beside "allowed"`, "found false: every MAC is allowed")
	case slices.Contains(l.Trunk, l.VLAN):
		return invalid("trunk", "expected other VLANs than vlan's, whose frames have no tag", fmt.Sprintf("found %d", l.VLAN))
	}
	if !l.Is() {
		return nil
	}
	switch {
	case c.PortMappings != nil:
		return refuse("runtimeConfig.portMappings", `the node's ports lead to the pod network`, fmt.Sprint(c.PortMappings[0].HostPort))
	case c.Ranges != nil:
		return refuse("ranges", `addresses of a network with "bridge" or "device" come from an IPAM plugin (ipam.type), or are none`, fmt.Sprint(c.Ranges[0]))
	case c.Ask.Addresses != nil && c.IPAM == "":
		return refuse(c.Ask.AddressesBy, `a network with "bridge" or "device" and without ipam.type has no addresses`, fmt.Sprint(c.Ask.Addresses[0]))
	case l.Device != "" && c.MTU != 0:
		return refuse("mtu", `the device has its own`, fmt.Sprint(c.MTU))
	case l.Device != "" && c.Ask.MAC != nil:
		return refuse(c.Ask.MACBy, `the device has its own`, c.Ask.MAC.String())
	case l.Device != "" && c.Rates != (Rates{}):
		return refuse("bandwidth", `a device is on no bridge`, c.Rates.String())
	}
	return nil
}
