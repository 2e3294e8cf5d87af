package db

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// Timeouts are how long conntrack keeps what it has heard nothing of, in seconds by the names of
// ovs-vswitchd.conf.db(5), table CT_Timeout_Policy. What is not named has the datapath's default.
type Timeouts map[string]int

// ownIDs tell our rows in Datapath and CT_Zone.
var ownIDs = map[string]string{"owner": "sluice"}

// ours tells whether a row with these external_ids is.
func ours(ids map[string]string) bool { return !differs(ids, ownIDs, nil) }

// newDatapath names the row of a datapath that the transaction makes.
const newDatapath = "datapath"

// EnsureTimeouts has the zones of a datapath ("system" or "netdev") have these timeouts, and no others of ours
// be anywhere; without zones none remain. A zone to which somebody else has given timeouts keeps those. They
// hold for connections from then on. It tells whether anything was written.
func (c *Client) EnsureTimeouts(ctx context.Context, datapath string, zones map[uint16]Timeouts) (changed bool, err error) {
	results, err := c.transact(ctx, func(t *transaction) error {
		root, ok := t.session.root()
		if !ok {
			return errNoRoot
		}
		for _, name := range slices.Sorted(maps.Keys(root.Datapaths)) {
			row, ok := byUUID[*vswitch.Datapath](t.session, vswitch.DatapathTable, root.Datapaths[name])
			switch {
			case !ok: // an update is half in the cache: it wakes the caller again
			case name == datapath:
				t.changeTimeouts(root, name, row, zones)
			default:
				t.changeTimeouts(root, name, row, nil)
			}
		}
		if _, ok := root.Datapaths[datapath]; !ok && len(zones) > 0 {
			t.insert(&vswitch.Datapath{UUID: newDatapath, ExternalIDs: ownIDs, CTZones: t.newZones(zones)})
			t.mutate(root, []model.Mutation{{Field: &root.Datapaths, Mutator: ovsdb.MutateOperationInsert, Value: map[string]string{datapath: newDatapath}}})
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("set conntrack's timeouts: %w", err)
	}
	return len(results) > 0, nil
}

// changeTimeouts makes ours of one datapath these. Rows that nothing refers to any more are deleted by the
// server; so is the datapath's, if it was made here and nobody has a zone in it.
func (t *transaction) changeTimeouts(root *vswitch.OpenvSwitch, name string, row *vswitch.Datapath, want map[uint16]Timeouts) {
	missing, gone, kept := maps.Clone(want), map[int]string{}, 0
	for number, uuid := range row.CTZones {
		zone, ok := byUUID[*vswitch.CTZone](t.session, vswitch.CTZoneTable, uuid)
		timeouts, wanted := want[uint16(number)]
		switch {
		case !ok || !ours(zone.ExternalIDs): // somebody else's
			delete(missing, uint16(number))
			kept++
		case wanted && maps.Equal(t.session.timeouts(zone), timeouts):
			delete(missing, uint16(number))
			kept++
		default:
			gone[number] = uuid
		}
	}
	if ours(row.ExternalIDs) && kept+len(missing) == 0 {
		t.mutate(root, []model.Mutation{{Field: &root.Datapaths, Mutator: ovsdb.MutateOperationDelete, Value: []string{name}}})
		return
	}
	var ms []model.Mutation
	if len(gone) > 0 {
		ms = append(ms, model.Mutation{Field: &row.CTZones, Mutator: ovsdb.MutateOperationDelete, Value: slices.Sorted(maps.Keys(gone))})
	}
	if len(missing) > 0 {
		ms = append(ms, model.Mutation{Field: &row.CTZones, Mutator: ovsdb.MutateOperationInsert, Value: t.newZones(missing)})
	}
	if len(ms) > 0 {
		t.mutate(row, ms)
	}
}

// newZones makes rows of zones, and returns their names.
func (t *transaction) newZones(zones map[uint16]Timeouts) map[int]string {
	out := map[int]string{}
	for _, number := range slices.Sorted(maps.Keys(zones)) {
		zone, policy := fmt.Sprintf("zone%d", number), fmt.Sprintf("timeouts%d", number)
		t.insert(&vswitch.CTTimeoutPolicy{UUID: policy, Timeouts: zones[number]})
		t.insert(&vswitch.CTZone{UUID: zone, TimeoutPolicy: &policy, ExternalIDs: ownIDs})
		out[int(number)] = zone
	}
	return out
}

// timeouts are a zone's.
func (s *session) timeouts(zone *vswitch.CTZone) Timeouts {
	row, ok := byUUID[*vswitch.CTTimeoutPolicy](s, vswitch.CTTimeoutPolicyTable, value(zone.TimeoutPolicy))
	if !ok {
		return nil
	}
	return row.Timeouts
}
