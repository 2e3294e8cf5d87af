package service

import (
	"fmt"
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
)

// How a group chooses. With dp_hash the datapath does, and a new connection needs no upcall; but it has
// 256 slots at most, which many backends cannot share evenly. With hash the switch does, by a hash
// over the client and each bucket's number: evenly among equals, and a backend's coming or going
// moves nobody else's choice. It cannot do so for very many, whose group would not fit into a message
// either: these are divided among groups, and one above chooses the group.
const (
	mostByDatapath = 30
	mostInGroup    = 250
	// slots are how many dp_hash has at most, and the number that it has only if it is forced to
	// (ofproto-dpif.c: a power of two that the lightest bucket needs, at least 16; ten equal
	// buckets would share 16).
	slots = 256
)

// Weights of buckets. One of a small group's backends has a part of its weight in a second bucket,
// whose lightness forces all slots.
const weight = 100

// lightWeight is the weight of the second bucket among n backends: total/lightWeight slots are
// needed, more than half of all.
func lightWeight(n int) int { return (n*weight + slots - 1) / slots }

// leaves is in how many groups n backends are divided: 0 if one holds them. It is a power of two, so
// that few changes of n divide them anew.
func leaves(n int) int {
	if n <= mostInGroup {
		return 0
	}
	k := 2
	for n > k*mostInGroup {
		k *= 2
	}
	return k
}

// groupNames are those of a port's groups with n backends: first the one that connections come to.
func (p Port) groupNames(service string, n int, hash flows.Hash) []groupName {
	if n == 0 || len(p.Addresses) == 0 {
		return nil
	}
	family := 4
	if p.IPv6 {
		family = 6
	}
	name := fmt.Sprintf("%s:%d/%s/IPv%d", service, p.Port, p.Protocol, family)
	out := []groupName{newGroupName(name, hash)}
	for i := range leaves(n) {
		out = append(out, newGroupName(fmt.Sprintf("%s#%d", name, i), hash))
	}
	return out
}

// groups makes a port's groups of its backends; numbers are those of groupNames.
func (p Port) groups(backends []netip.AddrPort, numbers []uint32) []flows.Group {
	if len(numbers) == 1 {
		return []flows.Group{p.group(numbers[0], backends)}
	}
	leaf := make([][]netip.AddrPort, len(numbers)-1)
	for _, b := range backends {
		i := backendHash(b) % uint32(len(leaf))
		leaf[i] = append(leaf[i], b)
	}
	// The same hash at both levels would choose the same bucket of each group.
	root := p.hashed(flows.Group{ID: numbers[0], Param: 1})
	out := []flows.Group{root}
	for i, its := range leaf {
		if len(its) == 0 {
			continue
		}
		out[0].Buckets = append(out[0].Buckets, flows.Bucket{ID: uint32(i), Weight: 1, Actions: []flows.Action{flows.ToGroup{Group: numbers[i+1]}}})
		out = append(out, p.hashed(flows.Group{ID: numbers[i+1], Buckets: p.buckets(its)}))
	}
	return out
}

func (p Port) group(number uint32, backends []netip.AddrPort) flows.Group {
	g := flows.Group{ID: number, Buckets: p.buckets(backends)}
	if len(backends) > mostByDatapath || p.Affinity > 0 {
		return p.hashed(g)
	}
	g.Method = "dp_hash"
	if len(backends) > 1 {
		light := g.Buckets[0]
		light.ID, light.Weight = flows.MaxBucket, uint16(lightWeight(len(backends)))
		g.Buckets[0].Weight -= light.Weight
		g.Buckets = append(g.Buckets, light)
	}
	return g
}

// hashed makes the group choose by the client's address and port; by the address alone where a client is
// to stay with its backend.
func (p Port) hashed(g flows.Group) flows.Group {
	g.Method = "hash"
	src := flows.IPv4Src
	if p.IPv6 {
		src = flows.IPv6Src
	}
	g = g.Hash(src, src.Ones())
	if port, ok := flows.SrcPort(p.Protocol.Number()); ok && p.Affinity == 0 {
		g = g.Hash(port, port.Ones())
	}
	return g
}

func (p Port) buckets(backends []netip.AddrPort) []flows.Bucket {
	numbers := bucketNumbers(backends)
	out := make([]flows.Bucket, len(backends))
	for i, b := range backends {
		out[i] = flows.Bucket{ID: numbers[i], Weight: weight, Actions: []flows.Action{p.translate(b)}}
		if p.Affinity > 0 {
			out[i].Actions = stay(numbers[i])
		}
	}
	return out
}

// translate gives a new connection to a backend and remembers that, with the backend's address and
// port for the packets that carry them no more. What comes behind sees the backend's.
func (p Port) translate(b netip.AddrPort) flows.Action {
	proto := p.Protocol.Number()
	label := flows.CTLabel.All()
	if !p.IPv6 {
		label = flows.CTLabel.From(0, 32)
	}
	return flows.CT{
		Commit: true, Recirculate: true, Table: flows.Destination, Zone: flows.ZonePods,
		Exec: []flows.Action{
			flows.NAT{Kind: flows.NATDestination, Min: b.Addr(), PortMin: b.Port()},
			flows.SetBits(flows.CTMark, flows.CTMarkService|flows.CTMarkValid|proto<<16|uint64(b.Port()), flows.CTMarkService|flows.CTMarkValid|0xffffff),
			flows.Load(label, flows.IP(b.Addr())),
		},
	}
}
