package hazard

import (
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// packet is an example of what must pass, field by field.
type packet map[field]string

// field is what a rule may ask about. What is none of these, nobody knows of a packet.
type field string

const (
	inDevice  field = "in"
	outDevice field = "out"
	source    field = "src"
	dest      field = "dst"
	protocol  field = "proto"
	destPort  field = "dport"
	connState field = "state"
	family    field = "family"
	unknown   field = ""
)

// condition holds if the packet's field is one of the values: names that may end in
// "*", prefixes, ranges "A-B", or words.
type condition struct {
	field  field
	values []string
	not    bool
}

// truth is what is known of a condition.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func (c condition) holds(p packet) truth {
	have, known := p[c.field]
	if c.field == unknown || !known {
		return maybe
	}
	found := no
	for _, v := range c.values {
		found = max(found, matches(have, v))
	}
	if c.not {
		return yes - found
	}
	return found
}

func matches(have, want string) truth {
	if have == want {
		return yes
	}
	if a, err := netip.ParseAddr(have); err == nil {
		return matchesAddress(a, want)
	}
	if low, high, ok := strings.Cut(want, "-"); ok {
		n, err1 := strconv.Atoi(have)
		from, err2 := strconv.Atoi(low)
		to, err3 := strconv.Atoi(high)
		if err1 == nil && err2 == nil && err3 == nil {
			return truthOf(from <= n && n <= to)
		}
	}
	if strings.HasPrefix(want, "@") {
		return maybe // a set that is kept elsewhere
	}
	ok, err := path.Match(want, have)
	return truthOf(ok && err == nil)
}

func matchesAddress(a netip.Addr, want string) truth {
	if low, high, ok := strings.Cut(want, "-"); ok {
		from, err1 := netip.ParseAddr(low)
		to, err2 := netip.ParseAddr(high)
		return truthOf(err1 == nil && err2 == nil && from.Compare(a) <= 0 && a.Compare(to) <= 0)
	}
	if p, err := netip.ParsePrefix(want); err == nil {
		return truthOf(p.Contains(a))
	}
	if _, err := netip.ParseAddr(want); err != nil {
		return maybe
	}
	return no
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// act is what a rule does.
type act int

const (
	goOn act = iota // counts, logs, marks
	accept
	drop
	giveBack // to the calling chain
	jump
	leap // a jump that does not come back
	other
)

type rule struct {
	conditions []condition
	act        act
	target     string // of jump and leap
}

func (r rule) holds(p packet) truth {
	least := yes
	for _, c := range r.conditions {
		least = min(least, c.holds(p))
	}
	return least
}

// chain is a list of rules. A base chain has a hook and a policy.
type chain struct {
	hook  string
	drops bool // its policy
	rules []rule
}

// fate is what becomes of a packet in a chain.
type fate int

const (
	falls fate = iota // through, to the caller or the policy
	passes
	unsure
	dropped
)

// maxDepth is the kernel's bound on jumps (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

// walk says what becomes of the packet in the named chain. Dropped is certain; where a
// rule asks what is not known of the packet, it might pass.
func walk(chains map[string]chain, name string, p packet, depth int) fate {
	if depth > maxDepth {
		return unsure
	}
	for _, r := range chains[name].rules {
		holds := r.holds(p)
		if holds == no {
			continue
		}
		f, ends := r.do(chains, p, depth)
		switch {
		case holds == yes && ends:
			return f
		case holds == maybe && ends && f != dropped:
			return unsure
		}
	}
	return falls
}

// do is what the rule does where it holds, and whether that ends the chain.
func (r rule) do(chains map[string]chain, p packet, depth int) (f fate, ends bool) {
	switch r.act {
	case goOn:
		return falls, false
	case accept:
		return passes, true
	case drop:
		return dropped, true
	case giveBack:
		return falls, true
	case jump:
		f = walk(chains, r.target, p, depth+1)
		return f, f != falls
	case leap:
		return walk(chains, r.target, p, depth+1), true
	}
	return unsure, true
}

// dropsIn tells whether the base chain certainly drops the packet.
func dropsIn(chains map[string]chain, base string, p packet) bool {
	f := walk(chains, base, p, 0)
	return f == dropped || f == falls && chains[base].drops
}
