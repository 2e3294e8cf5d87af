package service

import (
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// holders say who has a virtual address, and each port of it: of several Services one, by the rule
// of claims.OfService. A Frontend without a port is the address as a whole.
type holders struct {
	first map[Frontend]*state.Service
	// losers are the others, of the few that more than one claims.
	losers map[Frontend][]*state.Service
}

func settle(objects []*state.Service) holders {
	h := holders{make(map[Frontend]*state.Service, 4*len(objects)), map[Frontend][]*state.Service{}}
	for _, o := range objects {
		for _, a := range o.ClusterIPs {
			h.claim(Frontend{Address: a}, o)
			for _, p := range o.Ports {
				h.claim(Frontend{a, p.Protocol, p.Port}, o)
			}
		}
	}
	return h
}

func (h holders) claim(f Frontend, o *state.Service) {
	first, taken := h.first[f]
	switch {
	case first == o:
	case !taken:
		h.first[f] = o
	case claims.Compare(claims.OfService(*o), claims.OfService(*first)) < 0:
		h.first[f] = o
		h.losers[f] = append(h.losers[f], first)
	case !slices.Contains(h.losers[f], o):
		h.losers[f] = append(h.losers[f], o)
	}
}

// lostBy are what the Service claims and another has.
func (h holders) lostBy(o *state.Service) []Frontend {
	if len(h.losers) == 0 {
		return nil
	}
	var out []Frontend
	for _, a := range o.ClusterIPs {
		if compareServices(h.first[Frontend{Address: a}], o) != 0 {
			out = append(out, Frontend{Address: a})
		}
		for _, p := range o.Ports {
			if f := (Frontend{a, p.Protocol, p.Port}); compareServices(h.first[f], o) != 0 {
				out = append(out, f)
			}
		}
	}
	return out
}

// conflicts are what is told: of the ports. An address may well have several Services' ports.
func (h holders) conflicts() []claims.Conflict {
	var out []claims.Conflict
	for f, losers := range h.losers {
		if f.Port == 0 {
			continue
		}
		winner := claims.OfService(*h.first[f]).Of
		for _, l := range losers {
			out = append(out, claims.Conflict{On: claims.OnServiceAddress, Key: f.String(), Loser: claims.OfService(*l).Of, Winner: winner})
		}
	}
	slices.SortFunc(out, claims.CompareConflicts)
	return out
}
