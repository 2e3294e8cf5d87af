package main

import (
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/compare"
)

// The types of diff -o json. A node without difference has empty lists.
type (
	jsonNodeDiff struct {
		Node   string          `json:"node"`
		Owners []jsonOwnerDiff `json:"owners"`
		Groups compare.Lines   `json:"groups"`
		Host   compare.Lines   `json:"host"`
		// Conflicts are claims that are not served.
		Conflicts compare.Lines `json:"conflicts"`
	}
	jsonOwnerDiff struct {
		Owner string `json:"owner"`
		// Words are what a person is told of it.
		Words   string       `json:"words"`
		Removed []string     `json:"removed"`
		Added   []string     `json:"added"`
		Changed []jsonChange `json:"changed"`
	}
	jsonChange struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
)

func diffJSON(list []nodeDiff) any {
	out := struct {
		Nodes []jsonNodeDiff `json:"nodes"`
	}{[]jsonNodeDiff{}}
	for _, n := range list {
		j := jsonNodeDiff{
			Node: n.node, Owners: []jsonOwnerDiff{},
			Groups: notNull(n.diff.Groups), Host: notNull(n.diff.Host), Conflicts: notNull(n.diff.Conflicts),
		}
		for _, o := range n.diff.Owners {
			j.Owners = append(j.Owners, ownerJSON(o))
		}
		out.Nodes = append(out.Nodes, j)
	}
	return out
}

func ownerJSON(o compare.Owner) jsonOwnerDiff {
	out := jsonOwnerDiff{
		Owner: o.String(), Words: o.Words(), Removed: texts(o.Removed), Added: texts(o.Added), Changed: []jsonChange{},
	}
	for _, c := range o.Changed {
		out.Changed = append(out.Changed, jsonChange{c.From.String(), c.To.String()})
	}
	return out
}

func texts(list []flows.Flow) []string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = f.String()
	}
	return out
}

// notNull makes lists that JSON writes as [].
func notNull(l compare.Lines) compare.Lines {
	return compare.Lines{Removed: append([]string{}, l.Removed...), Added: append([]string{}, l.Added...)}
}
