package flows

import "fmt"

// TableID is the number of an OpenFlow table.
type TableID uint8

// The pipeline. A packet enters at Classify and goes on in ascending order;
// subroutines are called by resubmit and return. Numbers without a constant are
// kept free for what is not built yet (see Pipeline).
const (
	Classify    TableID = 0
	SpoofGuard  TableID = 1
	ARP         TableID = 2
	Answers     TableID = 3
	ICMPErrors  TableID = 4
	Conntrack   TableID = 5
	State       TableID = 6
	Service     TableID = 7
	Destination TableID = 8

	EgressAdmin     TableID = 9
	EgressPolicy    TableID = 10
	EgressBaseline  TableID = 11
	IngressAdmin    TableID = 12
	IngressPolicy   TableID = 13
	IngressBaseline TableID = 14
	EgressNAT       TableID = 15
	Commit          TableID = 16

	Policies   TableID = 18
	Addresses  TableID = 19
	Identities TableID = 20
	Affinity   TableID = 21
	Backends   TableID = 22
	Calls      TableID = 23
)

// Table is a table of the pipeline. Name is what Open vSwitch shows with
// `ovs-ofctl --names`, Purpose one sentence that docs and `sluicectl flows` print.
type Table struct {
	ID      TableID
	Name    string
	Purpose string
	// Built is false while the table's place is only kept.
	Built bool
}

// Pipeline is every table, in the order of their numbers. This is the one home
// of numbers, names and purposes.
var Pipeline = []Table{
	{Classify, "classify", "say where the packet comes from: pod, tunnel, gateway, uplink", true},
	{SpoofGuard, "spoof_guard", "a pod speaks only with its own MAC and addresses; a tunnel only for its node", true},
	{ARP, "arp", "answer ARP for the virtual router; send neighbour solicitations to the agent", true},
	{Answers, "answers", "undo the source translation of hairpins and refusals", true},
	{ICMPErrors, "icmp_errors", "subroutine: an ICMP error is believed from a pod only about a connection to itself (by ct_label)", true},
	{Conntrack, "conntrack", "look the connection up, undo its translation", true},
	{State, "state", "drop what is invalid; say who opened the connection", true},
	{Service, "service", "virtual address and port -> a backend, translated in the group's bucket", true},
	{Destination, "destination", "destination address -> output port, next hop", true},
	{EgressAdmin, "egress_admin", "what the opener may send: Admin tier", true},
	{EgressPolicy, "egress_policy", "what the opener may send: call the policies that select it", true},
	{EgressBaseline, "egress_baseline", "what the opener may send: Baseline tier", true},
	{IngressAdmin, "ingress_admin", "what the responder may receive: Admin tier", true},
	{IngressPolicy, "ingress_policy", "what the responder may receive: call the policies that select it", true},
	{IngressBaseline, "ingress_baseline", "what the responder may receive: Baseline tier", true},
	{EgressNAT, "egress_nat", "source translation: hairpin, egress addresses, NodePort answers", true},
	{Commit, "commit", "remember the connection", true},
	{Output, "output", "rewrite MACs, decrement TTL, send", true},
	{Policies, "policies", "subroutine: the rules of policy reg3, verdict in reg4", true},
	{Addresses, "addresses", "subroutine: the other end's address -> label set", true},
	{Identities, "identities", "subroutine: label set -> identity", true},
	{Affinity, "affinity", "subroutine: the backend that a Service with affinity has given to this client; learned by the switch", true},
	{Backends, "backends", "a Service with affinity: give the backend of reg2, or if it is none, one of the group's; learn it", true},
	{Calls, "calls", "subroutine: call the policies that select a pod, one after another; reg3 says which pod, and for which tier", true},
}

// Judges tells whether a table is of the policies: a tier, or a subroutine of theirs.
func (id TableID) Judges() bool {
	return id >= EgressAdmin && id <= IngressBaseline || id >= Policies && id <= Identities || id == Calls
}

// TableNames maps every number that has a name to it, for OVSDB's Flow_Table rows.
func TableNames() map[uint8]string {
	names := make(map[uint8]string, len(Pipeline))
	for _, t := range Pipeline {
		names[uint8(t.ID)] = t.Name
	}
	return names
}

// TableByID finds a table of the pipeline; ok is false for a number without one.
func TableByID(id TableID) (t Table, ok bool) {
	for _, t := range Pipeline {
		if t.ID == id {
			return t, true
		}
	}
	return Table{}, false
}

// String is the table's name, or its number if it has none.
func (id TableID) String() string {
	if t, ok := TableByID(id); ok {
		return t.Name
	}
	return fmt.Sprintf("table %d", uint8(id))
}
