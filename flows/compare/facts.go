package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
)

// fact is what a flow says of its owner, in words.
type fact struct {
	// noun is what is told, with the family: "route", "address".
	noun string
	ipv6 bool
	text string
}

// factOf reads the flows that carry one: those that say where an address is.
func factOf(f flows.Flow) (fact, bool) {
	dst, ok := f.Match.Get(flows.IPv4Dst)
	out := fact{}
	if !ok {
		dst, out.ipv6 = f.Match.Get(flows.IPv6Dst)
		if !out.ipv6 {
			return fact{}, false
		}
	}
	to := value(dst)
	switch rule := f.Cookie.Rule(); {
	case rule == flows.RuleRoute:
		out.noun, out.text = "route", to+" by "+setTo(f, flows.TunDst, flows.TunIPv6Dst)
	case rule == flows.RuleNobody && f.Cookie.Kind() == flows.OwnerNode:
		out.noun, out.text = "route", to+" by nobody"
	case rule == flows.RuleDeliver:
		out.noun, out.text = "address", to+" on port "+setTo(f, flows.RegOutput)
	default:
		return fact{}, false
	}
	return out, true
}

// value is a term's value as a match has it.
func value(t flows.Term) string {
	_, text, _ := strings.Cut(t.String(), "=")
	return text
}

// setTo is what a flow sets one of the fields to.
func setTo(f flows.Flow, fields ...flows.Field) string {
	for _, a := range f.Actions {
		s, ok := a.(flows.SetField)
		switch {
		case !ok || !slices.Contains(fields, s.Field):
		case s.Field == flows.RegOutput:
			return fmt.Sprint(s.Value.Uint64())
		default:
			return value(flows.Match{}.Is(s.Field, s.Value)[0])
		}
	}
	return "?"
}

// facts say what changes of an owner that is on both sides: what was and what will be
// are paired by noun and family, in their order.
func facts(o Owner) []string {
	var was, will []fact
	note := func(into *[]fact, f flows.Flow) {
		if x, ok := factOf(f); ok {
			*into = append(*into, x)
		}
	}
	for _, f := range o.Removed {
		note(&was, f)
	}
	for _, c := range o.Changed {
		note(&was, c.From)
		note(&will, c.To)
	}
	for _, f := range o.Added {
		note(&will, f)
	}
	same := func(list []fact) func(fact) bool { return func(f fact) bool { return slices.Contains(list, f) } }
	was, will = slices.DeleteFunc(slices.Clone(was), same(will)), slices.DeleteFunc(slices.Clone(will), same(was))
	var out []string
	for _, old := range was {
		i := slices.IndexFunc(will, func(f fact) bool { return f.noun == old.noun && f.ipv6 == old.ipv6 })
		if i < 0 {
			out = append(out, old.noun+" "+old.text+" is removed")
			continue
		}
		out = append(out, old.noun+" changes from "+old.text+" to "+will[i].text)
		will = slices.Delete(will, i, i+1)
	}
	for _, f := range will {
		out = append(out, f.noun+" "+f.text+" is added")
	}
	return out
}
