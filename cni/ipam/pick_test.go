package ipam_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/cni/ipam"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func held(s ...string) map[netip.Addr]string {
	m := map[netip.Addr]string{}
	for _, s := range s {
		m[netip.MustParseAddr(s)] = "pod default/" + s
	}
	return m
}

// freed are addresses and how many seconds ago they were freed.
func freed(ago map[string]int) map[netip.Addr]time.Time {
	m := map[netip.Addr]time.Time{}
	for s, seconds := range ago {
		m[netip.MustParseAddr(s)] = now.Add(-time.Duration(seconds) * time.Second)
	}
	return m
}

func TestPick(t *testing.T) {
	for name, c := range map[string]struct {
		ranges []netip.Prefix
		held   map[netip.Addr]string
		freed  map[netip.Addr]time.Time
		want   string
	}{
		"the first address follows the gateway":        {prefixes("10.1.0.0/24"), nil, nil, "10.1.0.2"},
		"in IPv6 too":                                  {prefixes("fd00::/64"), nil, nil, "fd00::2"},
		"a gap is filled":                              {prefixes("10.1.0.0/24"), held("10.1.0.2", "10.1.0.4"), nil, "10.1.0.3"},
		"a used address waits behind new ones":         {prefixes("10.1.0.0/24"), nil, freed(map[string]int{"10.1.0.2": 9999}), "10.1.0.3"},
		"the oldest used one comes first":              {prefixes("10.1.0.0/29"), held("10.1.0.2", "10.1.0.3"), freed(map[string]int{"10.1.0.4": 300, "10.1.0.5": 500, "10.1.0.6": 400}), "10.1.0.5"},
		"a resting one is given when nothing else is":  {prefixes("10.1.0.0/30"), nil, freed(map[string]int{"10.1.0.2": 1}), "10.1.0.2"},
		"of resting ones the oldest":                   {prefixes("10.1.0.0/29"), held("10.1.0.2", "10.1.0.3", "10.1.0.4"), freed(map[string]int{"10.1.0.5": 10, "10.1.0.6": 20}), "10.1.0.6"},
		"one freed in the future waits longest":        {prefixes("10.1.0.0/29"), held("10.1.0.2", "10.1.0.3", "10.1.0.4"), freed(map[string]int{"10.1.0.5": -3600, "10.1.0.6": 1}), "10.1.0.6"},
		"held counts where both say":                   {prefixes("10.1.0.0/29"), held("10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"), freed(map[string]int{"10.1.0.5": 999, "10.1.0.6": 300}), "10.1.0.6"},
		"the next range follows when one is full":      {prefixes("10.1.0.0/30", "10.9.0.0/24"), held("10.1.0.2"), nil, "10.9.0.2"},
		"a new one of a later range before a used one": {prefixes("10.1.0.0/30", "10.9.0.0/24"), nil, freed(map[string]int{"10.1.0.2": 999}), "10.9.0.2"},
		"strangers' addresses do not count":            {prefixes("10.1.0.0/24"), held("10.0.255.255", "10.1.1.2", "fd00::2"), freed(map[string]int{"192.0.2.1": 5}), "10.1.0.2"},
		"host bits in the range do not count":          {[]netip.Prefix{netip.MustParsePrefix("10.1.0.77/24")}, nil, nil, "10.1.0.2"},
		"held reserved addresses do not matter":        {prefixes("10.1.0.0/29"), held("10.1.0.0", "10.1.0.1", "10.1.0.7"), nil, "10.1.0.2"},
		"freed reserved addresses are not given":       {prefixes("10.1.0.0/30"), nil, freed(map[string]int{"10.1.0.0": 999, "10.1.0.1": 999, "10.1.0.3": 999, "10.1.0.2": 1}), "10.1.0.2"},
		"a range wider than 64 bits":                   {prefixes("fd00::/48"), held("fd00::2", "fd00:0:0:1::3", "fd00::ffff:ffff:ffff:ffff"), nil, "fd00::3"},
		"the last range of the space":                  {prefixes("255.255.255.248/29"), held("255.255.255.250", "255.255.255.251", "255.255.255.252", "255.255.255.253"), nil, "255.255.255.254"},
		"the carry into the upper half of an address":  {prefixes("fd00::/16"), held("fd00::2"), nil, "fd00::3"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ipam.Pick(ipam.Whole(c.ranges...), c.held, c.freed, now)
			if err != nil || got.String() != c.want {
				t.Errorf("picked %v (error %v), want %s", got, err, c.want)
			}
		})
	}
}

func TestExhaustionNamesRangesHoldersAndTheCure(t *testing.T) {
	who := held("10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.2.0.2")
	_, err := ipam.Pick(ipam.Whole(prefixes("10.1.0.0/29")...), who, nil, now)
	if !errors.Is(err, ipam.ErrExhausted) {
		t.Fatalf("error is %v", err)
	}
	const want = "no address is free in 10.1.0.0/29: 5 for pods, 5 held (10.1.0.2 by pod default/10.1.0.2, 10.1.0.3 by pod default/10.1.0.3, " +
		"10.1.0.4 by pod default/10.1.0.4 and 2 more); delete pods on this node, lower the kubelet's maxPods, or give the node a larger range"
	if err.Error() != want {
		t.Errorf("message is\n%s, want\n%s", err, want)
	}
}

func TestWithoutARangeTheErrorSaysSo(t *testing.T) {
	if _, err := ipam.Pick(nil, nil, nil, now); !errors.Is(err, ipam.ErrNoRange) {
		t.Errorf("error is %v", err)
	}
}

func TestARangeOfReservedAddressesIsExhausted(t *testing.T) {
	for _, r := range []string{"10.1.0.0/31", "10.1.0.1/32", "fd00::/127", "fd00::1/128"} {
		if got, err := ipam.Pick(ipam.Whole(prefixes(r)...), nil, freed(map[string]int{"10.1.0.1": 999, "fd00::1": 999}), now); !errors.Is(err, ipam.ErrExhausted) {
			t.Errorf("%s: picked %v, error %v", r, got, err)
		}
	}
}

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		prefix   string
		capacity uint64
	}{
		{"10.1.0.0/24", 253},
		{"10.1.0.9/16", 65533},
		{"10.1.0.4/30", 1},
		{"10.1.0.4/31", 0},
		{"fd00::/126", 2},
		{"fd00::/120", 254},
		{"fd00:3::/64", math.MaxUint64 - 1},
		{"fd00:3::/48", math.MaxUint64 - 1},
	} {
		p := netip.MustParsePrefix(c.prefix)
		if got := ipam.Capacity(p); got != c.capacity {
			t.Errorf("%s has room for %d, want %d", p, got, c.capacity)
		}
	}
}

// node is a node's addresses under arbitrary use.
type node struct {
	ranges []netip.Prefix
	held   map[netip.Addr]string
	freed  map[netip.Addr]time.Time
	now    time.Time
}

func ranges(t *rapid.T) []netip.Prefix {
	all := prefixes("10.1.0.0/29", "10.1.0.8/30", "10.2.0.16/28", "10.3.0.0/31")
	if rapid.Bool().Draw(t, "IPv6") {
		all = prefixes("fd00::/125", "fd00::8/126", "fd00:1::/127", "fd00:2::/124")
	}
	n := rapid.IntRange(1, len(all)).Draw(t, "ranges")
	return rapid.Permutation(all).Draw(t, "order")[:n]
}

func capacity(ranges []netip.Prefix) (n int) {
	for _, r := range ranges {
		n += int(ipam.Capacity(r))
	}
	return n
}

func reserved(addr netip.Addr, ranges []netip.Prefix) bool {
	for _, r := range ranges {
		if !r.Contains(addr) {
			continue
		}
		last := addr.Is4() && !r.Contains(addr.Next())
		return addr == r.Addr() || addr == r.Addr().Next() || last
	}
	return true // not in any range
}

func TestWhateverPodsComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := node{ranges: ranges(t), held: map[netip.Addr]string{}, freed: map[netip.Addr]time.Time{}, now: now}
		t.Repeat(map[string]func(*rapid.T){
			"add": n.add,
			"del": n.del,
			"wait": func(t *rapid.T) {
				n.now = n.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
			},
		})
	})
}

func (n *node) add(t *rapid.T) {
	addr, err := ipam.Pick(ipam.Whole(n.ranges...), n.held, n.freed, n.now)
	full := len(n.held) == capacity(n.ranges)
	if full != errors.Is(err, ipam.ErrExhausted) {
		t.Fatalf("%d of %d are held, error %v", len(n.held), capacity(n.ranges), err)
	}
	if full {
		return
	}
	if who, taken := n.held[addr]; taken {
		t.Fatalf("%s is held by %s and given again", addr, who)
	}
	if reserved(addr, n.ranges) {
		t.Fatalf("%s is reserved", addr)
	}
	if when, used := n.freed[addr]; used {
		if known := len(n.held) + len(n.freed); known < capacity(n.ranges) {
			t.Fatalf("%s was used before, and %d never were", addr, capacity(n.ranges)-known)
		}
		for other, earlier := range n.freed {
			if earlier.Before(when) {
				t.Fatalf("%s was freed at %v, %s already at %v", addr, when, other, earlier)
			}
			if !ipam.Rested(when, n.now) && ipam.Rested(earlier, n.now) {
				t.Fatalf("%s still rests, %s does not", addr, other)
			}
		}
	}
	delete(n.freed, addr)
	n.held[addr] = fmt.Sprintf("pod %d", len(n.held))
}

func (n *node) del(t *rapid.T) {
	if len(n.held) == 0 {
		t.Skip("no pod")
	}
	var all []netip.Addr
	for a := range n.held {
		all = append(all, a)
	}
	addr := rapid.SampledFrom(sorted(all)).Draw(t, "pod")
	delete(n.held, addr)
	n.freed[addr] = n.now
}

func TestFillingGivesExactlyTheCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := node{ranges: ranges(t), held: map[netip.Addr]string{}, now: now}
		for range capacity(n.ranges) {
			n.add(t)
		}
		if _, err := ipam.Pick(ipam.Whole(n.ranges...), n.held, nil, now); !errors.Is(err, ipam.ErrExhausted) {
			t.Fatalf("the range is full, error %v", err)
		}
	})
}

func TestAMessageStaysShortHoweverManyHold(t *testing.T) {
	who := map[netip.Addr]string{}
	for addr := netip.MustParseAddr("10.1.0.0"); addr.Less(netip.MustParseAddr("10.2.0.0")); addr = addr.Next() {
		who[addr] = "pod default/" + strings.ReplaceAll(addr.String(), ".", "-")
	}
	_, err := ipam.Pick(ipam.Whole(prefixes("10.1.0.0/16")...), who, nil, now)
	if !errors.Is(err, ipam.ErrExhausted) || len(err.Error()) > 400 || !strings.Contains(err.Error(), "65533 held") {
		t.Errorf("message is %v", err)
	}
}
