package main

import (
	"cmp"
	"regexp"
	"strconv"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/trace"
	"github.com/sluice-cni/sluice/flows/verdict"
)

var missCookie = flows.Owner{Kind: flows.OwnerPipeline}.Cookie(flows.RuleMiss).String()

// flowWords says whose a flow is and what it is for.
type flowWords struct {
	owners map[string]api.Flow
	// policies are the owners of the policies' blocks, by the number that they are called by.
	policies map[uint32]string
}

var calledPolicy = regexp.MustCompile(`,reg3=0x([0-9a-f]+),`)

func newFlowWords(dump []api.Flow) flowWords {
	w := flowWords{map[string]api.Flow{}, map[uint32]string{}}
	for _, f := range dump {
		w.owners[f.Cookie] = f
		if m := calledPolicy.FindStringSubmatch(f.Text); m != nil && f.Table == int(flows.Policies) {
			if n, err := strconv.ParseUint(m[1], 16, 32); err == nil {
				w.policies[uint32(n)] = f.Owner
			}
		}
	}
	return w
}

// steps says in words what flows a packet met.
func (w flowWords) steps(t trace.Trace, v verdict.Verdict) []stepAnswer {
	var out []stepAnswer
	var called []string // by the dispatch that the packet is in, as far as they are still to come
	decided := false
	for i, s := range t.Steps {
		step := w.step(s)
		miss := step.Cookie == missCookie
		switch {
		case s.Depth == 0:
			called, decided = calls(t.Steps[i+1:], side(s.Table, v)), false
			step.GoesOn = miss && s != t.Last()
		case s.Table == flows.Addresses && miss:
			step.Words = "the other end is no pod that a rule here names"
		case s.Table == flows.Addresses && s.Cookie.Rule() == flows.RuleOwnNode:
			decided = true
		case s.Table == flows.Policies:
			if miss {
				step.Owner, step.Words = cmp.Or(w.policies[s.Policy], "a policy without rules"), "no rule allows it"
				if decided {
					step.Words = "is not asked: it is allowed already"
				}
				if len(called) > 0 && w.policies[s.Policy] == "" {
					step.Owner = "policy " + called[0]
				}
			}
			decided = decided || !miss
			called = called[min(1, len(called)):]
		}
		out = append(out, step)
	}
	return out
}

// side is whose policies a table calls.
func side(table flows.TableID, v verdict.Verdict) verdict.Side {
	switch table {
	case flows.EgressPolicy:
		return v.Egress
	case flows.IngressPolicy:
		return v.Ingress
	}
	return verdict.Side{}
}

// calls are the names of the policies that a dispatch calls: those that select the pod, in the order of
// their names. A block without rules has no flow that could say whose it is. None if the switch does not
// call as many.
func calls(after []trace.Step, s verdict.Side) []string {
	n := 0
	for _, step := range after {
		if step.Depth == 0 {
			break
		}
		if step.Table == flows.Policies {
			n++
		}
	}
	if n != len(s.Policies) {
		return nil
	}
	var out []string
	for _, p := range s.Policies {
		out = append(out, p.Policy)
	}
	return out
}

func (w flowWords) step(s trace.Step) stepAnswer {
	out := stepAnswer{Table: s.Table.String(), Depth: s.Depth, Cookie: s.Cookie.String(), Owner: "somebody else", Words: "a flow that is not Sluice's"}
	switch f := w.owners[out.Cookie]; {
	case s.Missing:
		out.Owner, out.Words = "the switch", "dropped: there is no flow for it"
	case f.Rule != "":
		out.Owner, out.Words = f.Owner, f.Rule
	}
	return out
}
