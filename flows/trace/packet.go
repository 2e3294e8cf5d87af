package trace

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// Packet is one packet of a connection, where it enters the bridge.
type Packet struct {
	// Stage is one of Stages.
	Stage string
	// From says in words who sends it.
	From string
	// Args are ofproto/trace's, behind the name of the bridge.
	Args []string
}

// The stages of a connection: what opens it, what the opener sends later, and what comes back.
const (
	StageNew   = "new"
	StageKnown = "known"
	StageReply = "reply"
	// Older stands before known and reply where no policy judged the connection when it was opened.
	Older = "older "
)

// ctStates are what conntrack says of the stages' packets, as ofproto/trace's --ct-next takes it.
var ctStates = map[string]string{
	StageNew: "trk,new", StageKnown: "trk,est", StageReply: "trk,est,rpl",
	Older + StageKnown: "trk,est", Older + StageReply: "trk,est,rpl",
}

// Stages are all stages, in their order in time, those of a judged connection first.
var Stages = []string{StageNew, StageKnown, StageReply, Older + StageKnown, Older + StageReply}

// clientPort is the port of whoever opens the connection: no flow asks for it.
const clientPort = 40000

// Local is what is plugged in here with the address; ok is false if nothing is. Of several
// it is the one that has it by the claims' rule.
func Local(s state.State, address netip.Addr) (a state.Attachment, ok bool) {
	for _, b := range s.Attachments {
		if slices.Contains(b.Addresses, address) && (!ok || claims.Compare(claims.OfAttachment(b), claims.OfAttachment(a)) < 0) {
			a, ok = b, true
		}
	}
	return a, ok
}

// Packets are those of the connection, one for each of Stages, on the node s.Node. None if neither end
// is plugged in here. What conntrack remembers of a known connection is what the table commit wrote when
// it was opened: nothing of one that was not judged then, nor of one without ports, which has no older stages.
func Packets(s state.State, c verdict.Connection) []Packet {
	_, source := Local(s, c.Source)
	_, destination := Local(s, c.Destination)
	if !source && !destination {
		return nil
	}
	var out []Packet
	for _, stage := range Stages {
		from, to := c.Source, c.Destination
		later, older := strings.CutPrefix(stage, Older)
		if older && c.Protocol.Number() == 0 {
			continue
		}
		if later == StageReply {
			from, to = to, from
		}
		way, words := entry(s, from)
		fields := slices.Concat(
			// conntrack's other fields are taken of tracked packets only; it is --ct-next that says how
			// the packet comes out of conntrack.
			[]string{"ct_state=0x21", fmt.Sprintf("ct_zone=%d", flows.ZonePods)},
			way, headers(c, from, to, later))
		if stage != StageNew {
			fields = append(fields, remembered(c, !older)...)
		}
		out = append(out, Packet{stage, words, []string{strings.Join(fields, ","), "--ct-next", ctStates[stage]}})
	}
	return out
}

// entry is how packets of an address come into the bridge: by the pod's port, by the tunnel if it is in a
// podCIDR of another node, else from the host.
func entry(s state.State, from netip.Addr) (fields []string, words string) {
	router := "dl_dst=" + render.RouterMAC.String()
	if a, ok := Local(s, from); ok {
		mac, err := net.ParseMAC(a.MAC)
		if err != nil {
			mac = render.MAC(from)
		}
		return []string{fmt.Sprintf("in_port=%d", a.OFPort), "dl_src=" + mac.String(), router}, "from pod " + render.AttachmentName(a)
	}
	for _, n := range s.Nodes {
		t := render.TunnelTo(n, s)
		inside := func(p netip.Prefix) bool { return p.Contains(from) }
		if n.Name == s.Node || !t.Remote.IsValid() || !slices.ContainsFunc(n.PodCIDRs, inside) {
			continue
		}
		src, dst := "tun_src=", "tun_dst="
		if t.Remote.Is6() {
			src, dst = "tun_ipv6_src=", "tun_ipv6_dst="
		}
		fields = []string{fmt.Sprintf("in_port=%d", flows.PortTunnel), "tun_id=0", src + t.Remote.String()}
		if t.Local.IsValid() {
			fields = append(fields, dst+t.Local.String())
		}
		return append(fields, "dl_src="+render.MAC(from).String(), router), "by the tunnel from node " + n.Name
	}
	return []string{fmt.Sprintf("in_port=%d", flows.PortGateway), router}, "from the host"
}

// headers are the packet's own. What is no protocol with ports is a ping.
func headers(c verdict.Connection, from, to netip.Addr, stage string) []string {
	src, dst, six := "nw_src=", "nw_dst=", ""
	if from.Is6() {
		src, dst, six = "ipv6_src=", "ipv6_dst=", "6"
	}
	out := []string{src + from.String(), dst + to.String(), "nw_ttl=64"}
	name := strings.ToLower(string(c.Protocol))
	if c.Protocol.Number() != 0 {
		a, b := uint16(clientPort), c.Port
		if stage == StageReply {
			a, b = b, a
		}
		return append([]string{name + six}, append(out, fmt.Sprintf("%s_src=%d", name, a), fmt.Sprintf("%s_dst=%d", name, b))...)
	}
	request, answer, field := 8, 0, "icmp_type=%d"
	if from.Is6() {
		request, answer, field = 128, 129, "icmpv6_type=%d"
	}
	if stage == StageReply {
		request = answer
	}
	return append([]string{"icmp" + six}, append(out, fmt.Sprintf(field, request))...)
}

// remembered is what conntrack knows of the connection: how it was opened and, where it has
// ports and was judged then, what the table commit wrote.
func remembered(c verdict.Connection, judged bool) []string {
	src, dst := "ct_nw_src=", "ct_nw_dst="
	if c.Source.Is6() {
		src, dst = "ct_ipv6_src=", "ct_ipv6_dst="
	}
	tuple := []string{src + c.Source.String(), dst + c.Destination.String()}
	number := c.Protocol.Number()
	if number == 0 {
		ping, echo := flows.ProtoICMP, 8
		if c.Source.Is6() {
			ping, echo = flows.ProtoICMPv6, 128
		}
		return append(tuple, fmt.Sprintf("ct_nw_proto=%d", ping), fmt.Sprintf("ct_tp_src=%d", echo), "ct_tp_dst=0")
	}
	tuple = append(tuple, fmt.Sprintf("ct_nw_proto=%d", number), fmt.Sprintf("ct_tp_src=%d", clientPort), fmt.Sprintf("ct_tp_dst=%d", c.Port))
	if !judged {
		return tuple
	}
	return append(tuple, fmt.Sprintf("ct_mark=0x%x", flows.CTMarkValid|number<<16|uint64(c.Port)), fmt.Sprintf("ct_label=0x%x", c.Destination.AsSlice()))
}
