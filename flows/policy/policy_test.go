package policy_test

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// fourBits is a hash that collides all the time.
func fourBits(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32() & 15
}

// TestFlowsSayWhatTheVerdictSays: in drawn clusters, for every pair of addresses of which one is
// here, for each port: the first packet, what follows, and the answers.
func TestFlowsSayWhatTheVerdictSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := statetest.DrawPolicies(t)
		compiled := policy.Compile(s)
		if rapid.Bool().Draw(t, "collisions") {
			compiled = policy.CompileWith(s, fourBits)
		}
		m := newMachine(compiled.Flows())
		ends := endsOf(s)
		for _, from := range ends {
			for _, to := range ends {
				if from.address.Is4() != to.address.Is4() || from.port == remote && to.port == remote || from.address == to.address {
					continue
				}
				checkPair(t, s, m, from, to)
			}
		}
	})
}

// remote is the port of what is not here.
const remote = 1

type endpoint struct {
	address netip.Addr
	port    uint32
}

// endsOf are all addresses that a state speaks of, and some that nobody has.
func endsOf(s state.State) []endpoint {
	ports := map[netip.Addr]uint32{}
	for _, a := range statetest.PolicyOutside {
		ports[a] = remote
	}
	for _, p := range s.Pods {
		for _, a := range p.Addresses {
			ports[a] = remote
		}
	}
	created := map[netip.Addr]state.Attachment{}
	for _, a := range s.Attachments {
		for _, addr := range a.Addresses {
			old, ok := created[addr]
			if !ok || a.Created > old.Created || a.Created == old.Created && a.ContainerID < old.ContainerID {
				created[addr], ports[addr] = a, a.OFPort
			}
		}
	}
	var out []endpoint
	for a, p := range ports {
		out = append(out, endpoint{a, p})
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.address.Compare(b.address) })
	return out
}

func checkPair(t *rapid.T, s state.State, m machine, from, to endpoint) {
	for _, protocol := range []state.Protocol{state.TCP, state.UDP, state.SCTP, "ICMP"} {
		for _, port := range statetest.PolicyPorts {
			c := verdict.Connection{Source: from.address, Destination: to.address, Protocol: protocol, Port: port}
			want := verdict.Judge(s, c)
			allowed := expected(want, from, to)
			for _, stage := range []string{"new", "known", "reply", "error", "unmarked", "unmarked reply"} {
				if protocol == "ICMP" && stage == "error" {
					continue // there is no ICMP error about one
				}
				if _, got := m.run(newPacket(c, from, to, stage), flows.EgressAdmin); got != allowed {
					t.Fatalf("%s packet, %+v: passes %v\negress: %s\ningress: %s", stage, c, got, want.Egress.Reason, want.Ingress.Reason)
				}
			}
			if protocol == "ICMP" {
				break
			}
		}
	}
}

// expected is what this node has to say: the side of what is not here is another's.
func expected(v verdict.Verdict, from, to endpoint) bool {
	return (v.Egress.Allowed || from.port == remote) && (v.Ingress.Allowed || to.port == remote)
}

var protoNumbers = map[state.Protocol]uint64{state.TCP: 6, state.UDP: 17, state.SCTP: 132, "ICMP": 1}

// newPacket is a packet of a connection as it comes out of the tables before.
func newPacket(c verdict.Connection, from, to endpoint, stage string) *packet {
	p := &packet{fields: map[flows.Field]flows.Value{}}
	number := protoNumbers[c.Protocol]
	if number == 1 && c.Source.Is6() {
		number = 58
	}
	source, destination, in, out := c.Source, c.Destination, from.port, to.port
	unmarked := strings.HasPrefix(stage, "unmarked") // it was not judged when it began
	stage = strings.TrimSpace(strings.TrimPrefix(stage, "unmarked"))
	if stage == "reply" || stage == "error" {
		source, destination, in, out = destination, source, out, in
	}
	p.fields[flows.InPort] = flows.Uint(uint64(in))
	p.put(flows.RegOutput, flows.Uint(uint64(out)), flows.RegOutput.Ones())
	p.fields[flows.IPProto] = flows.Uint(number)
	p.fields[flows.EthType], p.fields[flows.IPv4Src], p.fields[flows.IPv4Dst] = flows.Uint(0x0800), flows.IP(source), flows.IP(destination)
	tuple, tupleDst := flows.CTNwSrc, flows.CTNwDst
	if source.Is6() {
		delete(p.fields, flows.IPv4Src)
		delete(p.fields, flows.IPv4Dst)
		p.fields[flows.EthType], p.fields[flows.IPv6Src], p.fields[flows.IPv6Dst] = flows.Uint(0x86dd), flows.IP(source), flows.IP(destination)
		tuple, tupleDst = flows.CTIPv6Src, flows.CTIPv6Dst
	}
	port := c.Port
	if stage == "reply" {
		port = 40000 // the client's: nobody asks for it
	}
	if f, ok := map[uint64]flows.Field{6: flows.TCPDst, 17: flows.UDPDst, 132: flows.SCTPDst}[number]; ok {
		p.fields[f] = flows.Uint(uint64(port))
	}
	p.fields[flows.CTState] = flows.Uint(0x21)
	p.fields[flows.CTMark] = flows.Uint(0)
	if stage == "new" {
		return p
	}
	if stage == "error" { // "port unreachable", from the responder: conntrack says whose connection it is about
		delete(p.fields, map[uint64]flows.Field{6: flows.TCPDst, 17: flows.UDPDst, 132: flows.SCTPDst}[number])
		p.fields[flows.IPProto] = flows.Uint(1)
		if c.Source.Is6() {
			p.fields[flows.IPProto] = flows.Uint(58)
		}
	}
	bits, ct := flows.ConnectionKnown, uint64(0x22)
	if stage == "reply" {
		bits, ct = bits|flows.ConnectionReply, 0x2a
	}
	if stage == "error" {
		bits, ct = bits|flows.ConnectionReply, 0x2c
	}
	p.put(flows.RegConnection, flows.Uint(bits), flows.RegConnection.Ones())
	p.fields[flows.CTState] = flows.Uint(ct)
	p.fields[tuple] = flows.IP(c.Source)
	p.fields[tupleDst], p.fields[flows.CTLabel] = flows.IP(c.Destination), flows.Value{}
	p.fields[flows.CTNwProto], p.fields[flows.CTTPDst] = flows.Uint(number), flows.Uint(0)
	if c.Protocol != "ICMP" {
		p.fields[flows.CTTPDst] = flows.Uint(uint64(c.Port))
	}
	if c.Protocol != "ICMP" && !unmarked {
		p.fields[flows.CTMark], p.fields[flows.CTLabel] = flows.Uint(flows.CTMarkValid|number<<16|uint64(c.Port)), flows.IP(c.Destination)
		p.fields[tupleDst] = flows.Uint(0xffffffff) // a translated one's is another
	}
	return p
}
