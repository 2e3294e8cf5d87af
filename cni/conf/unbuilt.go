package conf

import (
	"encoding/json"
	"slices"
	"strings"
)

// This file is about what the specification's conventions let people ask for in
// places of their own, and Sluice does not build yet. To ignore it would be to give
// a pod another address than the one it was promised.

// ipam refuses delegation; an empty object delegates nothing.
func (f field) ipam(*Conf) error {
	if f.null() {
		return nil
	}
	m, err := members(f.value)
	if err != nil {
		return f.bad("an object")
	}
	if len(m) > 0 {
		return f.notYet(`leave it out: addresses come from the Node's podCIDRs, or from "ranges"`)
	}
	return nil
}

// capabilities refuses each that is declared: a runtime would then pass values for
// it in runtimeConfig.
func (f field) capabilities(*Conf) error {
	if f.null() {
		return nil
	}
	m, err := members(f.value)
	if err != nil {
		return f.bad("an object of booleans")
	}
	for _, capability := range m {
		var on bool
		capability.name = f.name + "." + capability.name
		if json.Unmarshal(capability.value, &on) != nil {
			return capability.bad("true or false")
		}
		if on {
			return capability.notYet("leave it out")
		}
	}
	return nil
}

// runtimeConfig refuses the values that a runtime passes for capabilities.
func (f field) runtimeConfig(*Conf) error {
	if f.null() {
		return nil
	}
	m, err := members(f.value)
	if err != nil {
		return f.bad("an object")
	}
	for _, value := range m {
		if !value.null() {
			value.name = f.name + "." + value.name
			return value.notYet("leave the capability out of the network configuration")
		}
	}
	return nil
}

// args refuses the conventional requests for an address; anything else in args a
// plugin should ignore if it does not know it (CNI conventions, "args in network
// config").
func (f field) args(*Conf) error {
	if f.null() {
		return nil
	}
	m, err := members(f.value)
	if err != nil {
		return f.bad("an object")
	}
	cni := find(m, "cni")
	if cni.null() {
		return nil
	}
	m, err = members(cni.value)
	if err != nil {
		return field{name: f.name + ".cni", value: cni.value}.bad("an object")
	}
	for _, request := range m {
		if request.name == "ips" || request.name == "mac" {
			request.name = f.name + ".cni." + request.name
			return request.notYet("leave it out")
		}
	}
	return nil
}

// nearest is the known field that a misspelt one most likely means: at most two
// letters apart, and fewer than half of them; "" if there is none.
func nearest(name string) string {
	known := slices.Clone(planned)
	for n := range readers {
		known = append(known, n)
	}
	slices.Sort(known)
	best, distance := "", 3
	for _, n := range known {
		d := editDistance(strings.ToLower(name), strings.ToLower(n))
		if d < distance && 2*d < len(n) {
			best, distance = n, d
		}
	}
	return best
}

// editDistance is Levenshtein's, by bytes; 3 at once where it must be more.
func editDistance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
