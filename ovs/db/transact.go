package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// transaction collects operations. It carries the first error, so that calls
// need no check each.
type transaction struct {
	session    *session
	operations []ovsdb.Operation
	err        error
}

func (t *transaction) add(ops []ovsdb.Operation, err error) {
	if t.err == nil {
		t.err = err
	}
	t.operations = append(t.operations, ops...)
}

// insert creates a row. Its UUID is a name by which other rows of the
// transaction refer to it.
func (t *transaction) insert(row model.Model) { t.add(t.session.client.Create(row)) }

// update writes the fields of an existing row.
func (t *transaction) update(row model.Model, fields ...any) {
	t.add(t.session.client.Where(row).Update(row, fields...))
}

// mutate changes sets and maps of an existing row. More conditions than its
// UUID may be given; the row is left alone unless all hold.
func (t *transaction) mutate(row model.Model, mutations []model.Mutation, conditions ...ovsdb.Condition) {
	ops, err := t.session.client.Where(row).Mutate(row, mutations...)
	for i := range ops {
		ops[i].Where = append(ops[i].Where, conditions...)
	}
	t.add(ops, err)
}

// transact waits for a connection, lets build fill a transaction from what the
// database holds, and commits it. An empty one is not sent, and has no results.
func (c *Client) transact(ctx context.Context, build func(*transaction) error) ([]ovsdb.OperationResult, error) {
	ctx, cancel := context.WithTimeout(ctx, transactBound)
	defer cancel()
	s, err := c.live(ctx)
	if err != nil {
		return nil, err
	}
	t := &transaction{session: s}
	if err := build(t); err != nil {
		return nil, err
	}
	if t.err != nil {
		return nil, t.err
	}
	if len(t.operations) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil { // libovsdb would send it all the same
		return nil, fmt.Errorf("nothing was written: %w", err)
	}
	results, err := s.client.Transact(ctx, t.operations...)
	if errors.Is(err, client.ErrNotConnected) && ctx.Err() == nil {
		// It was not sent, or it was and the connection closed: libovsdb gives
		// one error for both.
		return nil, fmt.Errorf("%w (%s): the connection ended", ErrUnknownOutcome, c.endpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%s): %w", ErrUnknownOutcome, c.endpoint, err)
	}
	return results, check(results, t.operations)
}

// check returns the first error among the results.
func check(results []ovsdb.OperationResult, operations []ovsdb.Operation) error {
	failed, err := ovsdb.CheckOperationResults(results, operations)
	if len(failed) > 0 {
		return failed[0]
	}
	return err
}

// taken tells whether a transaction failed because a name is in use: the tables
// of bridges, ports and interfaces are indexed by name. Other constraints (a
// value out of its range) have the same error code, so the text has to tell.
func taken(err error) bool {
	var violation *ovsdb.ConstraintViolation
	return errors.As(err, &violation) && strings.Contains(violation.Error(), "identical values")
}

// BridgeNote is a change of a bridge's external_ids that is made in one
// transaction with something else: both are done, or neither. Set overwrites;
// a key that is in both lists is set.
type BridgeNote struct {
	Set    map[string]string
	Remove []string
}

// mutations returns what carries the note out.
func (n BridgeNote) mutations(bridge *vswitch.Bridge) []model.Mutation {
	return mapMutations(&bridge.ExternalIDs, n.Set, n.Remove)
}

// mapMutations sets and removes keys of a map column, and leaves all others
// alone. OVSDB's insert does not overwrite, so what is set is deleted first.
func mapMutations(field *map[string]string, set map[string]string, remove []string) []model.Mutation {
	drop := slices.Concat(remove, slices.Collect(maps.Keys(set)))
	slices.Sort(drop)
	drop = slices.Compact(drop) // a set of OVSDB has no duplicates
	var ms []model.Mutation
	if len(drop) > 0 {
		ms = append(ms, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationDelete, Value: drop})
	}
	if len(set) > 0 {
		ms = append(ms, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationInsert, Value: set})
	}
	return ms
}

// differs tells whether setting and removing these keys would change the map.
func differs(have, set map[string]string, remove []string) bool {
	for key, value := range set {
		if old, ok := have[key]; !ok || old != value {
			return true
		}
	}
	for _, key := range remove {
		if _, ok := have[key]; ok {
			if _, ok := set[key]; !ok {
				return true
			}
		}
	}
	return false
}
