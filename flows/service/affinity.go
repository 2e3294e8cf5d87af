package service

import (
	"math"

	"github.com/sluice-cni/sluice/flows"
)

// A port of a Service with affinity (sessionAffinity: ClientIP). The table affinity says which
// backend a client has: flows that the switch has learned, each for the Service's timeout from the client's last
// new connection on. The table backends gives that backend, if the Service still gives it to anybody, and
// else what the group chooses, and has it learned. So nobody needs to take back what was learned: it stands for
// nothing once its backend has gone.
//
// The group's choice depends on the client's address alone: connections that a client opens at the same
// moment, before anything has been learned, go to one backend.

// mostLearned is for how long a flow can be learned, in seconds: 18 hours. The API takes up to 24.
const mostLearned = math.MaxUint16

// stay are the actions of a bucket: a bucket cannot learn.
func stay(bucket uint32) []flows.Action {
	return []flows.Action{flows.Set(flows.RegBackend, backendNumber(bucket)), flows.Resubmit{Table: flows.Backends}}
}

// backendNumber is the number that stands in RegBackend: not 0, which is nobody's.
func backendNumber(bucket uint32) flows.Value { return flows.Uint(uint64(bucket) + 1) }

// affinity are the flows of the table backends for what matches choose, which gives it to the group.
func (p Port) affinity(owner flows.Owner, choose flows.Flow) []flows.Flow {
	choose.Table, choose.Priority = flows.Backends, prioAddress
	choose.Cookie = owner.Cookie(flows.RuleAffinity)
	out := []flows.Flow{choose}
	used := p.Used()
	learn := p.learn(owner.Name, choose.Match)
	for i, bucket := range bucketNumbers(used) {
		out = append(out, flows.Flow{
			Table: flows.Backends, Priority: prioPort, Cookie: owner.Cookie(flows.RuleStay),
			Match:   choose.Match.Is(flows.RegBackend, backendNumber(bucket)),
			Actions: []flows.Action{learn, flows.Set(flows.RegBackend, flows.Uint(0)), p.translate(used[i])},
		})
	}
	return out
}

// learn has the switch remember the backend that is in RegBackend as that of the client, for what matches m.
func (p Port) learn(service string, m flows.Match) flows.Learn {
	src := flows.IPv4Src
	if p.IPv6 {
		src = flows.IPv6Src
	}
	learn := flows.Learn{
		Table: flows.Affinity, Priority: prioPort, HardTimeout: uint16(min(p.Affinity, mostLearned)),
		Cookie: flows.Owner{Kind: flows.OwnerLearned, Name: service}.Cookie(flows.RuleLearned),
	}
	for _, t := range m {
		learn.Specs = append(learn.Specs, flows.LearnSpec{To: t.Field.All(), Value: t.Value})
	}
	learn.Specs = append(learn.Specs,
		flows.LearnSpec{To: src.All(), From: src.All()},
		flows.LearnSpec{Kind: flows.LearnLoad, To: flows.RegBackend.All(), From: flows.RegBackend.All()})
	return learn
}
