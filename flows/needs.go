package flows

import "slices"

// Needs is what a match must say before it may name a field (ovs-fields(7),
// "Prerequisites").
type Needs uint8

// The prerequisites.
const (
	NeedsNothing Needs = iota
	NeedsVLAN
	NeedsIPv4
	NeedsIPv6
	NeedsIP
	NeedsARP
	NeedsMPLS
	NeedsTCP
	NeedsUDP
	NeedsSCTP
	NeedsICMP
	NeedsICMPv6
	NeedsND
	NeedsSolicitation
	NeedsAdvertisement
	NeedsTrackedIPv4
	NeedsTrackedIPv6
	NeedsTrackedIP
	NeedsTrackedPorts
	numNeeds
)

const (
	trackedBit    = 0x20 // of CTState
	invalidBit    = 0x10
	vlanPresent   = 0x1000 // of VLANTCI
	solicitation  = 135    // ICMPv6Type, RFC 4861
	advertisement = 136
)

var needsTable = func() (table [numNeeds][]Match) {
	v4, v6 := Match{}.IPv4(), Match{}.IPv6()
	proto := func(n uint64) []Match {
		return []Match{v4.Is(IPProto, Uint(n)), v6.Is(IPProto, Uint(n))}
	}
	nd := func(typ uint64) Match {
		return v6.Is(IPProto, Uint(58)).Is(ICMPv6Type, Uint(typ)).Is(ICMPv6Code, Uint(0))
	}
	tracked := func(m Match) Match { return m.Masked(CTState, Uint(trackedBit), Uint(trackedBit|invalidBit)) }
	trackedPorts := func(m Match) Match { return tracked(m).Is(CTNwProto, Uint(6)) }
	return [numNeeds][]Match{
		NeedsNothing:       {nil},
		NeedsVLAN:          {Match{}.Masked(VLANTCI, Uint(vlanPresent), Uint(vlanPresent))},
		NeedsIPv4:          {v4},
		NeedsIPv6:          {v6},
		NeedsIP:            {v4, v6},
		NeedsARP:           {Match{}.ARP(), Match{}.Is(EthType, Uint(ethRARP))},
		NeedsMPLS:          {Match{}.Is(EthType, Uint(ethMPLS)), Match{}.Is(EthType, Uint(ethMPLSMulticast))},
		NeedsTCP:           proto(6),
		NeedsUDP:           proto(17),
		NeedsSCTP:          proto(132),
		NeedsICMP:          proto(1)[:1],
		NeedsICMPv6:        proto(58)[1:],
		NeedsND:            {nd(solicitation), nd(advertisement)},
		NeedsSolicitation:  {nd(solicitation)},
		NeedsAdvertisement: {nd(advertisement)},
		NeedsTrackedIPv4:   {tracked(v4)},
		NeedsTrackedIPv6:   {tracked(v6)},
		NeedsTrackedIP:     {tracked(v4), tracked(v6)},
		NeedsTrackedPorts:  {trackedPorts(v4), trackedPorts(v6)},
	}
}()

// Matches are the ways to meet it, simplest first. Ports of a tracked connection can
// be met by other protocols, too.
func (n Needs) Matches() []Match { return slices.Clone(needsTable[n]) }

// Met tells whether a match says it.
func (n Needs) Met(m Match) bool {
	return slices.ContainsFunc(needsTable[n], func(way Match) bool {
		return !slices.ContainsFunc(way, func(t Term) bool {
			has, ok := m.Get(t.Field)
			return !ok || has.Mask.And(t.Mask) != t.Mask || has.Value.And(t.Mask) != t.Value
		})
	})
}
