package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrNoRange is returned by [Pick] when there is no range to pick from.
var ErrNoRange = errors.New("no range to give addresses from: the Node has no podCIDR of this family, and the network configuration has no ranges")

// ErrExhausted is what errors.Is finds in an [*ExhaustedError].
var ErrExhausted = errors.New("no address is free")

// namedHolders is how many holders an ExhaustedError names.
const namedHolders = 3

// ExhaustedError says that every address is held.
type ExhaustedError struct {
	Ranges []Range
	// Capacity is how many addresses the ranges have for pods together.
	Capacity uint64
	// Held is how many of these are held.
	Held int
	// Holders are a few of them, in words.
	Holders []string
}

// Is makes errors.Is(err, ErrExhausted) true.
func (e *ExhaustedError) Is(target error) bool { return target == ErrExhausted }

func (e *ExhaustedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no address is free in %s: %d for pods, %d held", names(e.Ranges), e.Capacity, e.Held)
	if len(e.Holders) > 0 {
		fmt.Fprintf(&b, " (%s", strings.Join(e.Holders, ", "))
		if more := e.Held - len(e.Holders); more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteString(")")
	}
	b.WriteString("; delete pods on this node, lower the kubelet's maxPods, or give the node a larger range")
	return b.String()
}

func names(ranges []Range) string {
	list := make([]string, len(ranges))
	for i, r := range ranges {
		list[i] = r.String()
	}
	return strings.Join(list, ", ")
}

func exhausted(ranges []Range, held map[netip.Addr]string) *ExhaustedError {
	e := &ExhaustedError{Ranges: slices.Clone(ranges)}
	for _, r := range ranges {
		e.Capacity = saturate(e.Capacity, r.Capacity())
	}
	var first []netip.Addr // the lowest few, so that the message is the same each time
	for addr := range held {
		if !assignable(ranges, addr) {
			continue
		}
		e.Held++
		i, _ := slices.BinarySearchFunc(first, addr, netip.Addr.Compare)
		if i < namedHolders {
			first = slices.Insert(first, i, addr)
			first = first[:min(len(first), namedHolders)]
		}
	}
	for _, addr := range first {
		e.Holders = append(e.Holders, fmt.Sprintf("%s by %s", addr, cmp.Or(held[addr], "someone unknown")))
	}
	return e
}
