// Package policies holds well-known recipes of NetworkPolicies, ready to apply in a lab, and
// beside each which pods reach which with it.
//
// A recipe's comment begins with what it is for and has a table for each port: a row for each
// end that opens a connection, a column for each that is asked; "yes" where it is allowed, "-"
// where it is dropped, "." for an end and itself.
package policies

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Cluster is the manifests of the pods that the recipes are about.
func Cluster() []byte {
	text, err := files.ReadFile("cluster.yaml")
	if err != nil {
		panic(err) // it is in this directory
	}
	return text
}

// Recipe is one file.
type Recipe struct {
	// Name is the file's, without .yaml.
	Name string
	// Title says in a sentence what it is for.
	Title string
	// Manifests are the policies.
	Manifests []byte
	Expect    []Expectation
}

// Expectation is a cell of a table.
type Expectation struct {
	// From and To are namespace/name of pods, or "outside".
	From, To string
	// Port is 8080/TCP or the like.
	Port    string
	Allowed bool
}

// Recipes are all, in the order of their names.
func Recipes() ([]Recipe, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []Recipe
	for _, e := range entries {
		if e.Name() == "cluster.yaml" {
			continue
		}
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		r := Recipe{Name: strings.TrimSuffix(e.Name(), ".yaml"), Manifests: text}
		if err := r.parse(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		out = append(out, r)
	}
	return out, nil
}

// parse reads the comment.
func (r *Recipe) parse(text string) error {
	var port string
	var columns []string
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			break
		}
		f := strings.Fields(comment)
		switch {
		case r.Title == "":
			r.Title = strings.TrimSpace(comment)
		case len(f) == 0:
		case !strings.HasPrefix(comment, "   "):
			port, columns = f[0], f[1:]
		case len(f) != len(columns)+1:
			return fmt.Errorf("%q has not as many cells as there are columns", line)
		default:
			if err := r.row(port, columns, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Recipe) row(port string, columns, cells []string) error {
	for i, cell := range cells[1:] {
		switch cell {
		case "yes", "-":
			r.Expect = append(r.Expect, Expectation{From: cells[0], To: columns[i], Port: port, Allowed: cell == "yes"})
		case ".":
		default:
			return fmt.Errorf("cell %q: expected yes, - or a dot", cell)
		}
	}
	return nil
}
