// Package invariant says whether a node is consistent: whether OVSDB, the cables, the
// containers' namespaces and the switch tell the same story. It is a pure comparison;
// whoever has seen a node asks it, and labs, tests and `sluicectl check` ask the same.
//
// What is under way (a container being plugged in or out) breaks invariants for a
// moment: leave it out of Seen, or look again.
package invariant

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/flows"
)

// Seen is what was found on a node.
type Seen struct {
	// Rows are the attachments that OVSDB holds.
	Rows []lease.Lease
	// Cables are the names of the host's ends of our veths.
	Cables []string
	// Devices are the ports (names by which rows go) of lent devices that are where they
	// were lent to.
	Devices []string
	// Bridges are those that Open vSwitch has.
	Bridges []string
	// Namespaces tells of each path that a row names whether a network namespace is there.
	Namespaces map[string]bool
	// Desired are the rendered flows, Installed those that the switch has.
	Desired, Installed []flows.Flow
	// Strange are flows of the switch that Flow cannot express, as text.
	Strange []string
}

// Broken is an invariant that does not hold.
type Broken struct {
	// What says what is wrong, with names.
	What string `json:"what"`
	// Cure says what to do.
	Cure string `json:"cure"`
}

func (b Broken) String() string { return b.What + ": " + b.Cure }

// Check returns what is broken, in a stable order; nothing if the node is consistent.
func Check(s Seen) []Broken {
	return slices.Concat(cables(s), addresses(s.Rows), tables(s))
}

// cables: every row has its cable and its namespace, and every cable its row.
func cables(s Seen) []Broken {
	var broken []Broken
	rows := map[string]bool{}
	for _, l := range sorted(s.Rows) {
		rows[l.Port] = true
		there := slices.Contains(s.Cables, l.Port)
		if broken = append(broken, secondNetwork(s, l)...); l.Layer2.Device != "" {
			continue
		}
		switch {
		case !there:
			broken = append(broken, Broken{
				fmt.Sprintf("port %s of %s has no cable", l.Port, l.Holder()),
				"the agent frees it within seconds; if it does not, see its log",
			})
		case !s.Namespaces[l.NetNS]:
			broken = append(broken, Broken{
				fmt.Sprintf("port %s of %s has a cable, and its network namespace %s is gone", l.Port, l.Holder(), l.NetNS),
				"the namespace was unmounted without DEL and something in it still runs: end that process, or `ip link delete " + l.Port + "`",
			})
		}
	}
	for _, name := range slices.Sorted(slices.Values(s.Cables)) {
		if !rows[name] {
			broken = append(broken, Broken{
				fmt.Sprintf("cable %s has no port: nobody knows whose it is", name),
				"an ADD was cut short; `ip link delete " + name + "` unless its container is being started",
			})
		}
	}
	return broken
}

// secondNetwork: what is not on br-sluice is where its row says.
func secondNetwork(s Seen, l lease.Lease) []Broken {
	switch {
	case l.Layer2.Device != "" && !slices.Contains(s.Devices, l.Port):
		return []Broken{{
			fmt.Sprintf("device %s, lent to %s, is not in its container", l.Layer2.Device, l.Holder()),
			"the agent ends the attachment within seconds, and gives a device that came home its name; if it does not, see its log",
		}}
	case l.Layer2.Bridge != "" && !slices.Contains(s.Bridges, l.Layer2.Bridge):
		return []Broken{{
			fmt.Sprintf("port %s of %s has no bridge %s", l.Port, l.Holder(), l.Layer2.Bridge),
			"make the bridge again: the port follows within seconds; or delete the pod",
		}}
	case l.Incomplete():
		return []Broken{{
			fmt.Sprintf("port %s of %s has no address of IPAM plugin %s", l.Port, l.Holder(), l.IPAM),
			"its ADD was cut short; the agent ends it within two minutes of its beginning",
		}}
	}
	return nil
}

// addresses: none is held twice, nor a port's number.
func addresses(rows []lease.Lease) []Broken {
	var broken []Broken
	holders := map[netip.Addr]lease.Lease{}
	numbers := map[uint32]lease.Lease{}
	for _, l := range sorted(rows) {
		if l.Layer2.Is() {
			continue // another network's addresses, another bridge's numbers
		}
		for _, a := range l.Addresses {
			if other, taken := holders[a]; taken {
				broken = append(broken, Broken{
					fmt.Sprintf("address %s is held twice: by %s (port %s) and %s (port %s)", a, other.Holder(), other.Port, l.Holder(), l.Port),
					"delete one of the pods",
				})
			}
			holders[a] = l
		}
		if other, taken := numbers[l.OFPort]; taken && l.OFPort != 0 {
			broken = append(broken, Broken{
				fmt.Sprintf("port number %d is both %s's and %s's", l.OFPort, other.Port, l.Port),
				"restart ovs-vswitchd, which gives numbers",
			})
		}
		numbers[l.OFPort] = l
	}
	return broken
}

// maxFlows is how many single flows are named before they are only counted.
const maxFlows = 5

// tables: the switch has the rendered flows, and no others but what it has learned.
func tables(s Seen) []Broken {
	const cure = "the agent puts it right within 10 s; if it comes back, somebody else writes to the bridge"
	want, have := map[string]bool{}, map[string]bool{}
	for _, f := range s.Desired {
		want[f.String()] = true
	}
	for _, f := range s.Installed {
		if !f.Learned() {
			have[f.String()] = true
		}
	}
	var broken []Broken
	tell := func(what string, list []string) {
		for i, text := range list {
			if i == maxFlows {
				broken = append(broken, Broken{fmt.Sprintf("%d more flows are %s", len(list)-maxFlows, what), cure})
				return
			}
			broken = append(broken, Broken{fmt.Sprintf("flow is %s: %s", what, text), cure})
		}
	}
	tell("missing", without(want, have))
	tell("not ours", append(without(have, want), s.Strange...))
	return broken
}

// without are the members of a that b has not, sorted.
func without(a, b map[string]bool) []string {
	var out []string
	for text := range a {
		if !b[text] {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}

func sorted(rows []lease.Lease) []lease.Lease {
	return slices.SortedFunc(slices.Values(rows), func(a, b lease.Lease) int { return cmp.Compare(a.Port, b.Port) })
}
