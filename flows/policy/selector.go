package policy

import (
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// matches tells whether labels are what the selector selects.
func matches(s state.Selector, labels map[string]string) bool {
	for key, value := range s.Labels {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return !slices.ContainsFunc(s.Requirements, func(r state.Requirement) bool { return !meets(r, labels) })
}

func meets(r state.Requirement, labels map[string]string) bool {
	value, ok := labels[r.Key]
	switch r.Operator {
	case state.Exists:
		return ok
	case state.DoesNotExist:
		return !ok
	case state.In:
		return ok && slices.Contains(r.Values, value)
	case state.NotIn:
		return !ok || !slices.Contains(r.Values, value)
	}
	return false
}

func everything(s *state.Selector) bool {
	return s != nil && len(s.Labels) == 0 && len(s.Requirements) == 0
}

// keys adds the label keys that a selector mentions.
func keys(s *state.Selector, into map[string]bool) {
	if s == nil {
		return
	}
	for key := range s.Labels {
		into[key] = true
	}
	for _, r := range s.Requirements {
		into[r.Key] = true
	}
}

// isolates tells whether a policy is about the direction.
func isolates(p state.NetworkPolicy, d state.Direction) bool {
	if len(p.Types) == 0 {
		return d == state.Ingress || len(p.Egress) > 0
	}
	return slices.Contains(p.Types, d)
}
