package policy_test

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// packet is a packet's fields and registers. What it does not have is not there: a match on a
// port of UDP does not hold for a packet of TCP.
type packet struct {
	fields map[flows.Field]flows.Value
	regs   [64]byte
}

// get reads a field as a match or an action does.
func (p *packet) get(f flows.Field) (v flows.Value, ok bool) {
	if from, n := registers(f); n > 0 {
		copy(v[16-n:], p.regs[from:from+n])
		return v, true
	}
	v, ok = p.fields[f]
	return v, ok
}

// put writes the bits under mask.
func (p *packet) put(f flows.Field, v, mask flows.Value) {
	old, _ := p.get(f)
	for i := range old {
		old[i] = old[i]&^mask[i] | v[i]&mask[i]
	}
	from, n := registers(f)
	if n == 0 {
		panic(fmt.Sprintf("nothing here writes %v", f))
	}
	copy(p.regs[from:from+n], old[16-n:])
}

// registers is where a register's bytes are.
func registers(f flows.Field) (from, n int) {
	switch {
	case f >= flows.Reg0 && f <= flows.Reg15:
		return 4 * int(f-flows.Reg0), 4
	case f >= flows.XReg0 && f <= flows.XReg7:
		return 8 * int(f-flows.XReg0), 8
	case f >= flows.XXReg0 && f <= flows.XXReg3:
		return 16 * int(f-flows.XXReg0), 16
	}
	return 0, 0
}

// machine is as much of a switch as policies need: the flows of each table, highest first.
type machine struct {
	tables map[flows.TableID][]flows.Flow
}

func newMachine(all []flows.Flow) machine {
	m := machine{map[flows.TableID][]flows.Flow{}}
	for _, f := range all {
		m.tables[f.Table] = append(m.tables[f.Table], f)
	}
	for _, t := range m.tables {
		slices.SortStableFunc(t, func(a, b flows.Flow) int { return cmp.Compare(b.Priority, a.Priority) })
	}
	return m
}

// run sends a packet into a table, and returns the table in which it leaves the machine: one
// that has no flows. It returns false if it is dropped.
func (m machine) run(p *packet, at flows.TableID) (flows.TableID, bool) {
	for steps := 0; ; steps++ {
		if steps > 4000 {
			panic("too many resubmits")
		}
		if len(m.tables[at]) == 0 {
			return at, true
		}
		f, ok := m.lookUp(p, at)
		if !ok {
			return 0, false
		}
		next, ok := m.act(p, f.Actions)
		if !ok {
			return 0, false
		}
		at = next
	}
}

// act does actions; ok is false if they lead nowhere.
func (m machine) act(p *packet, actions []flows.Action) (next flows.TableID, ok bool) {
	for _, a := range actions {
		switch a := a.(type) {
		case flows.SetField:
			p.put(a.Field, a.Value, a.Mask)
		case flows.Move:
			p.move(a)
		case flows.Resubmit:
			m.run(p, a.Table)
		case flows.Goto:
			return a.Table, true
		default:
			panic("nothing here does " + a.String())
		}
	}
	return 0, false
}

func (p *packet) move(a flows.Move) {
	v, ok := p.get(a.From.Field)
	if !ok {
		panic(fmt.Sprintf("the packet has no %v", a.From.Field))
	}
	if a.From.Start != 0 || a.To.Start%8 != 0 || a.From.Bits != a.To.Bits {
		panic("nothing here does " + a.String())
	}
	mask := flows.LowBits(int(a.To.Bits))
	n := int(a.To.Start) / 8
	p.put(a.To.Field, shift(v.And(mask), n), shift(mask, n))
}

// shift moves bytes up.
func shift(v flows.Value, n int) (out flows.Value) {
	copy(out[:16-n], v[n:])
	return out
}

// lookUp finds the flow that wins: a conjunction holds, at the priority of its clauses, if one flow
// of each clause matches.
func (m machine) lookUp(p *packet, at flows.TableID) (flows.Flow, bool) {
	all := m.tables[at]
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Priority == all[0].Priority {
			n++
		}
		if f, ok := lookUpOne(p, all[:n]); ok {
			return f, true
		}
		all = all[n:]
	}
	return flows.Flow{}, false
}

// lookUpOne looks among flows of one priority.
func lookUpOne(p *packet, all []flows.Flow) (flows.Flow, bool) {
	clauses := map[uint32]map[uint8]bool{}
	wanted := map[uint32]uint8{}
	for _, f := range all {
		if _, ok := f.Match.Get(flows.ConjID); ok || !p.matches(f.Match) {
			continue
		}
		soft := false
		for _, a := range f.Actions {
			if c, ok := a.(flows.Conjunction); ok {
				soft = true
				if clauses[c.ID] == nil {
					clauses[c.ID] = map[uint8]bool{}
				}
				clauses[c.ID][c.Clause], wanted[c.ID] = true, c.Clauses
			}
		}
		if !soft {
			return f, true
		}
	}
	for id, have := range clauses {
		if len(have) != int(wanted[id]) {
			continue
		}
		p.fields[flows.ConjID] = flows.Uint(uint64(id))
		for _, f := range all {
			if _, ok := f.Match.Get(flows.ConjID); ok && p.matches(f.Match) {
				delete(p.fields, flows.ConjID)
				return f, true
			}
		}
		delete(p.fields, flows.ConjID)
	}
	return flows.Flow{}, false
}

func (p *packet) matches(m flows.Match) bool {
	for _, t := range m {
		v, ok := p.get(t.Field)
		if !ok || v.And(t.Mask) != t.Value {
			return false
		}
	}
	return true
}
