package flows

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Learn puts a flow into Table whose match and actions Specs make from this packet.
type Learn struct {
	Table                          TableID
	Priority                       uint16
	IdleTimeout, HardTimeout       uint16 // seconds; 0 never
	FinIdleTimeout, FinHardTimeout uint16 // once a TCP connection ends
	Cookie                         Cookie
	SendFlowRemoved                bool
	DeleteLearned                  bool     // with the flow that this action is in
	Limit                          uint32   // on how many flows of the cookie; 0 none
	Result                         Subfield // a bit that says whether it was learned
	Specs                          []LearnSpec
}

// LearnPriority is the priority of learned flows unless an action says another.
const LearnPriority uint16 = 32768

// LearnSpec is one match or action of a learned flow. The value is From's, or Value
// if From has no bits.
type LearnSpec struct {
	Kind  LearnKind
	To    Subfield // not for LearnOutput
	From  Subfield
	Value Value
}

// LearnKind is what a LearnSpec is for.
type LearnKind uint8

// The kinds.
const (
	LearnMatch LearnKind = iota
	LearnLoad
	LearnOutput
)

func (Learn) action() {}

func (a Learn) equal(o Action) bool {
	b, ok := o.(Learn)
	if !ok || !slices.Equal(a.Specs, b.Specs) {
		return false
	}
	return a.Table == b.Table && a.Priority == b.Priority && a.Cookie == b.Cookie && a.Limit == b.Limit && a.Result == b.Result &&
		a.IdleTimeout == b.IdleTimeout && a.HardTimeout == b.HardTimeout &&
		a.FinIdleTimeout == b.FinIdleTimeout && a.FinHardTimeout == b.FinHardTimeout &&
		a.SendFlowRemoved == b.SendFlowRemoved && a.DeleteLearned == b.DeleteLearned
}

func (a Learn) String() string {
	out := []string{"table=" + strconv.Itoa(int(a.Table))}
	number := func(name string, n, without uint16) {
		if n != without {
			out = append(out, name+"="+strconv.Itoa(int(n)))
		}
	}
	number("idle_timeout", a.IdleTimeout, 0)
	number("hard_timeout", a.HardTimeout, 0)
	number("fin_idle_timeout", a.FinIdleTimeout, 0)
	number("fin_hard_timeout", a.FinHardTimeout, 0)
	number("priority", a.Priority, LearnPriority)
	if a.SendFlowRemoved {
		out = append(out, "send_flow_rem")
	}
	if a.DeleteLearned {
		out = append(out, "delete_learned")
	}
	if a.Cookie != 0 {
		out = append(out, "cookie="+a.Cookie.String())
	}
	if a.Limit != 0 {
		out = append(out, "limit="+strconv.FormatUint(uint64(a.Limit), 10))
	}
	if a.Result.Bits > 0 {
		out = append(out, "result_dst="+a.Result.String())
	}
	for _, s := range a.Specs {
		out = append(out, s.String())
	}
	return "learn(" + strings.Join(out, ",") + ")"
}

// String is the spec as ovs-ofctl writes it within learn.
func (s LearnSpec) String() string {
	from := s.From.String()
	switch {
	case s.Kind == LearnOutput:
		return "output:" + from
	case s.Kind == LearnLoad && s.From.Bits > 0:
		return "load:" + from + "->" + s.To.String()
	case s.Kind == LearnLoad:
		return "load:" + hexText(s.Value) + "->" + s.To.String()
	case s.From.Bits > 0 && s.From == s.To:
		return from
	case s.From.Bits > 0:
		return s.To.String() + "=" + from
	case s.To == s.To.Field.All():
		return s.To.Field.learnName() + "=" + s.To.Field.text(s.Value)
	}
	return s.To.String() + "=" + hexText(s.Value)
}

// learnName is Open vSwitch's first name for the field.
func (f Field) learnName() string {
	if f == IPProto {
		return "nw_proto"
	}
	return f.Name()
}

func parseLearn(s string) (Action, error) {
	a := Learn{Table: 1, Priority: LearnPriority}
	err := eachArgument(s, func(name, value string) (err error) {
		switch name {
		case "table":
			err = parseUint(value, 8, &a.Table)
		case "priority":
			err = parseUint(value, 16, &a.Priority)
		case "idle_timeout":
			err = parseUint(value, 16, &a.IdleTimeout)
		case "hard_timeout":
			err = parseUint(value, 16, &a.HardTimeout)
		case "fin_idle_timeout":
			err = parseUint(value, 16, &a.FinIdleTimeout)
		case "fin_hard_timeout":
			err = parseUint(value, 16, &a.FinHardTimeout)
		case "cookie":
			err = parseUint(value, 64, &a.Cookie)
		case "limit":
			err = parseUint(value, 32, &a.Limit)
		case "send_flow_rem":
			a.SendFlowRemoved = true
		case "delete_learned":
			a.DeleteLearned = true
		case "result_dst":
			a.Result, err = parseSubfield(value)
		default:
			var spec LearnSpec
			spec, err = parseLearnSpec(name, value)
			a.Specs = append(a.Specs, spec)
		}
		return err
	})
	return a, err
}

func parseLearnSpec(name, value string) (s LearnSpec, err error) {
	switch name {
	case "output":
		s.Kind = LearnOutput
		s.From, err = parseSubfield(value)
		return s, err
	case "load":
		from, to, _ := strings.Cut(value, "->")
		s.Kind = LearnLoad
		if s.To, err = parseSubfield(to); err != nil {
			return s, err
		}
		err = s.parseValue(from)
		return s, err
	}
	f, known := fieldBySet[name]
	if names := fieldsByName[name]; !known && len(names) == 1 {
		f, known = names[0], true
	}
	if known {
		s.To = f.All()
		s.Value, err = f.parse(value)
		return s, err
	}
	if s.To, err = parseSubfield(name); err != nil {
		return s, err
	}
	if value == "" {
		s.From = s.To
		return s, nil
	}
	err = s.parseValue(value)
	return s, err
}

// parseValue reads a number or bits of a field, as many as it is for.
func (s *LearnSpec) parseValue(text string) (err error) {
	if strings.Contains(text, "[") {
		s.From, err = parseSubfield(text)
		if err == nil && s.From.Bits != s.To.Bits {
			err = fmt.Errorf("learn: %s and %s differ in width", s.From, s.To)
		}
		return err
	}
	v, ok := parseNumber(text)
	if !ok && s.To == s.To.Field.All() {
		s.Value, err = s.To.Field.parse(text)
		return err
	}
	if !ok || v.And(ones(min(int(s.To.Bits), 128))) != v {
		return fmt.Errorf("learn: %q is no number of %d bits", text, s.To.Bits)
	}
	s.Value = v
	return nil
}
