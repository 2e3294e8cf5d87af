package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// Limit is how fast a port may send out of the bridge: type linux-htb, with one queue, in
// ovs-vswitchd.conf.db(5). The zero value is none.
//
// QoS and Queue are root tables: what no port refers to stays. So rows of ours bear the
// port's name, are made and deleted in the port's own transaction, and [Client.SweepLimits]
// finds those whose port went in another way.
type Limit struct {
	// Rate is in bits a second.
	Rate uint64
	// Burst is in bits: what may be sent at once after a pause.
	Burst uint64
}

// limitKey is the key of external_ids in both tables that tells our rows, with the port's name.
const limitKey = "sluice-port"

// limitPort gives a new row of a port its limit.
func (t *transaction) limitPort(port *vswitch.Port, l *Limit) {
	if l == nil || *l == (Limit{}) {
		return
	}
	ids := map[string]string{limitKey: port.Name}
	rate := strconv.FormatUint(l.Rate, 10)
	t.insert(&vswitch.Queue{
		UUID: "queue", ExternalIDs: ids,
		OtherConfig: map[string]string{"min-rate": rate, "max-rate": rate, "burst": strconv.FormatUint(l.Burst, 10)},
	})
	t.insert(&vswitch.QoS{UUID: "qos", Type: "linux-htb", ExternalIDs: ids, OtherConfig: map[string]string{"max-rate": rate}, Queues: map[int]string{0: "queue"}})
	port.QOS = new("qos")
}

// changeLimit gives an existing port this limit. That of somebody else is left alone
// where none is wanted.
func (t *transaction) changeLimit(port *vswitch.Port, want *Limit) {
	if want == nil {
		return
	}
	have, ours := t.session.limitOf(port)
	if have == *want && ours || *want == (Limit{}) && !ours {
		return
	}
	t.deleteLimit(port)
	port.QOS = nil
	t.limitPort(port, want)
	t.update(port, &port.QOS)
}

// deleteLimit deletes the port's rows, if they are ours.
func (t *transaction) deleteLimit(port *vswitch.Port) {
	if port.QOS == nil {
		return
	}
	qos, ok := byUUID[*vswitch.QoS](t.session, vswitch.QoSTable, *port.QOS)
	if !ok || qos.ExternalIDs[limitKey] == "" {
		return
	}
	t.add(t.session.client.Where(qos).Delete())
	for _, uuid := range qos.Queues {
		t.add(t.session.client.Where(&vswitch.Queue{UUID: uuid}).Delete())
	}
}

// limitOf reads a port's limit, and whether it is one of ours.
func (s *session) limitOf(port *vswitch.Port) (l Limit, ours bool) {
	if port.QOS == nil {
		return Limit{}, false
	}
	qos, ok := byUUID[*vswitch.QoS](s, vswitch.QoSTable, *port.QOS)
	if !ok {
		return Limit{}, false
	}
	queue, ok := byUUID[*vswitch.Queue](s, vswitch.QueueTable, qos.Queues[0])
	if !ok {
		return Limit{}, false
	}
	l.Rate, _ = strconv.ParseUint(queue.OtherConfig["max-rate"], 10, 64)
	l.Burst, _ = strconv.ParseUint(queue.OtherConfig["burst"], 10, 64)
	if qos.Type != "linux-htb" || qos.OtherConfig["max-rate"] != queue.OtherConfig["max-rate"] {
		l = Limit{}
	}
	return l, qos.ExternalIDs[limitKey] != ""
}

// PortSettings are what a port has of VLANs (nil: nothing was said) and limit.
func (c *Client) PortSettings(name string) (*VLANs, Limit) {
	s := c.last()
	port, ok := s.port(name)
	if !ok {
		return nil, Limit{}
	}
	limit, _ := s.limitOf(port)
	return vlansOf(port), limit
}

// SweepLimits deletes rows of ours that nothing refers to, and returns how many: their
// port was deleted by somebody who does not know of them.
func (c *Client) SweepLimits(ctx context.Context) (int, error) {
	results, err := c.transact(ctx, func(t *transaction) error {
		t.sweepLimits()
		return nil
	})
	var used *ovsdb.ReferentialIntegrityViolation
	if errors.As(err, &used) { // the cache was half way through an update
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("delete QoS that no port has: %w", err)
	}
	return len(results), nil
}

func (t *transaction) sweepLimits() {
	s := t.session
	used := map[string]bool{}
	for _, row := range s.cache.Table(vswitch.PortTable).RowsShallow() {
		used[value(row.(*vswitch.Port).QOS)] = true
	}
	for uuid, row := range s.cache.Table(vswitch.QoSTable).RowsShallow() {
		qos := row.(*vswitch.QoS)
		if !used[uuid] && qos.ExternalIDs[limitKey] != "" {
			t.add(s.client.Where(&vswitch.QoS{UUID: uuid}).Delete())
			continue
		}
		for _, queue := range qos.Queues {
			used[queue] = true
		}
	}
	for uuid, row := range s.cache.Table(vswitch.QueueTable).RowsShallow() {
		if !used[uuid] && row.(*vswitch.Queue).ExternalIDs[limitKey] != "" {
			t.add(s.client.Where(&vswitch.Queue{UUID: uuid}).Delete())
		}
	}
}
