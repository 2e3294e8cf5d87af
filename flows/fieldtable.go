package flows

import "strconv"

// fieldTable is the one list of fields: how each is written as text and how it goes
// over the wire (ovs-fields(7)). The numbered ones are added below.
var fieldTable = func() (table [numFields]fieldInfo) {
	for f, info := range namedFields {
		table[f] = info
	}
	for i := range 16 {
		n := strconv.Itoa(i)
		table[Reg0+Field(i)] = fieldInfo{"reg" + n, "", "NXM_NX_REG" + n, 32, 4, hexadecimal, masked | settable, NeedsNothing, nx(i), none}
	}
	for i := range 8 {
		n := strconv.Itoa(i)
		table[XReg0+Field(i)] = fieldInfo{"xreg" + n, "", "OXM_OF_PKT_REG" + n, 64, 8, hexadecimal, masked | settable, NeedsNothing, packetRegister(i), none}
	}
	for i := range 4 {
		n := strconv.Itoa(i)
		table[XXReg0+Field(i)] = fieldInfo{"xxreg" + n, "", "NXM_NX_XXREG" + n, 128, 16, hexadecimal, masked | settable, NeedsNothing, nx(111 + i), none}
	}
	for i := range 64 {
		n := strconv.Itoa(i)
		table[TunMetadata0+Field(i)] = fieldInfo{"tun_metadata" + n, "", "NXM_NX_TUN_METADATA" + n, 992, 16, hexadecimal, masked | settable | variable, NeedsNothing, nx(40 + i), none}
	}
	return table
}()

var namedFields = map[Field]fieldInfo{
	PktMark:       {"pkt_mark", "", "NXM_NX_PKT_MARK", 32, 4, hexadecimal, masked | settable, NeedsNothing, nx(33), none},
	ConjID:        {"conj_id", "", "NXM_NX_CONJ_ID", 32, 4, decimal, 0, NeedsNothing, nx(37), none},
	CTState:       {"ct_state", "", "NXM_NX_CT_STATE", 32, 4, ctStateFlags, masked, NeedsNothing, nx(105), none},
	CTZone:        {"ct_zone", "", "NXM_NX_CT_ZONE", 16, 2, decimal, 0, NeedsNothing, nx(106), none},
	CTMark:        {"ct_mark", "", "NXM_NX_CT_MARK", 32, 4, hexadecimal, masked | settableInCT, NeedsNothing, nx(107), none},
	CTLabel:       {"ct_label", "", "NXM_NX_CT_LABEL", 128, 16, hexadecimal, masked | settableInCT, NeedsNothing, nx(108), none},
	CTNwSrc:       {"ct_nw_src", "", "NXM_NX_CT_NW_SRC", 32, 4, ipv4, masked, NeedsTrackedIPv4, nx(120), none},
	CTIPv6Src:     {"ct_ipv6_src", "", "NXM_NX_CT_IPV6_SRC", 128, 16, ipv6, masked, NeedsTrackedIPv6, nx(122), none},
	CTNwDst:       {"ct_nw_dst", "", "NXM_NX_CT_NW_DST", 32, 4, ipv4, masked, NeedsTrackedIPv4, nx(121), none},
	CTIPv6Dst:     {"ct_ipv6_dst", "", "NXM_NX_CT_IPV6_DST", 128, 16, ipv6, masked, NeedsTrackedIPv6, nx(123), none},
	CTNwProto:     {"ct_nw_proto", "", "NXM_NX_CT_NW_PROTO", 8, 1, decimal, 0, NeedsTrackedIP, nx(119), none},
	CTTPSrc:       {"ct_tp_src", "", "NXM_NX_CT_TP_SRC", 16, 2, decimal, masked, NeedsTrackedPorts, nx(124), none},
	CTTPDst:       {"ct_tp_dst", "", "NXM_NX_CT_TP_DST", 16, 2, decimal, masked, NeedsTrackedPorts, nx(125), none},
	PacketType:    {"packet_type", "", "OXM_OF_PACKET_TYPE", 32, 4, packetType, 0, NeedsNothing, of(44), none},
	EthType:       {"dl_type", "eth_type", "NXM_OF_ETH_TYPE", 16, 2, hexadecimal, 0, NeedsNothing, of(5), nxm(3)},
	IPProto:       {"nw_proto", "", "NXM_OF_IP_PROTO", 8, 1, decimal, 0, NeedsIP, of(10), nxm(6)},
	TunID:         {"tun_id", "", "NXM_NX_TUN_ID", 64, 8, hexadecimal, masked | settable, NeedsNothing, of(38), nx(16)},
	TunSrc:        {"tun_src", "", "NXM_NX_TUN_IPV4_SRC", 32, 4, ipv4, masked | settable, NeedsNothing, nx(31), none},
	TunDst:        {"tun_dst", "", "NXM_NX_TUN_IPV4_DST", 32, 4, ipv4, masked | settable, NeedsNothing, nx(32), none},
	TunIPv6Src:    {"tun_ipv6_src", "", "NXM_NX_TUN_IPV6_SRC", 128, 16, ipv6, masked | settable, NeedsNothing, nx(109), none},
	TunIPv6Dst:    {"tun_ipv6_dst", "", "NXM_NX_TUN_IPV6_DST", 128, 16, ipv6, masked | settable, NeedsNothing, nx(110), none},
	TunGBPID:      {"tun_gbp_id", "", "NXM_NX_TUN_GBP_ID", 16, 2, decimal, masked | settable, NeedsNothing, nx(38), none},
	TunGBPFlags:   {"tun_gbp_flags", "", "NXM_NX_TUN_GBP_FLAGS", 8, 1, hexadecimal, masked | settable, NeedsNothing, nx(39), none},
	TunFlags:      {"tun_flags", "", "NXM_NX_TUN_FLAGS", 1, 2, tunFlags, masked | settable, NeedsNothing, nx(104), none},
	Metadata:      {"metadata", "", "OXM_OF_METADATA", 64, 8, hexadecimal, masked | settable, NeedsNothing, of(2), none},
	InPort:        {"in_port", "in_port_oxm", "OXM_OF_IN_PORT", 32, 4, port, 0, NeedsNothing, of(0), none},
	InPort16:      {"in_port", "", "NXM_OF_IN_PORT", 16, 2, port, settable, NeedsNothing, nxm(0), none},
	VLANTCI:       {"vlan_tci", "", "NXM_OF_VLAN_TCI", 16, 2, vlanTCI, masked | settable, NeedsNothing, nxm(4), none},
	VLANVID:       {"vlan_vid", "", "OXM_OF_VLAN_VID", 12, 2, decimal, masked | settable, NeedsVLAN, of(6), none},
	VLANPCP:       {"vlan_pcp", "", "OXM_OF_VLAN_PCP", 3, 1, decimal, settable, NeedsVLAN, of(7), none},
	EthSrc:        {"dl_src", "eth_src", "NXM_OF_ETH_SRC", 48, 6, mac, masked | settable, NeedsNothing, of(4), nxm(2)},
	EthDst:        {"dl_dst", "eth_dst", "NXM_OF_ETH_DST", 48, 6, mac, masked | settable, NeedsNothing, of(3), nxm(1)},
	IPv4Src:       {"nw_src", "ip_src", "NXM_OF_IP_SRC", 32, 4, ipv4, masked | settable, NeedsIPv4, of(11), nxm(7)},
	IPv4Dst:       {"nw_dst", "ip_dst", "NXM_OF_IP_DST", 32, 4, ipv4, masked | settable, NeedsIPv4, of(12), nxm(8)},
	IPv6Src:       {"ipv6_src", "", "NXM_NX_IPV6_SRC", 128, 16, ipv6, masked | settable, NeedsIPv6, of(26), nx(19)},
	IPv6Dst:       {"ipv6_dst", "", "NXM_NX_IPV6_DST", 128, 16, ipv6, masked | settable, NeedsIPv6, of(27), nx(20)},
	IPv6Label:     {"ipv6_label", "", "NXM_NX_IPV6_LABEL", 20, 4, flowLabel, masked | settable, NeedsIPv6, of(28), nx(27)},
	ARPSpa:        {"arp_spa", "", "NXM_OF_ARP_SPA", 32, 4, ipv4, masked | settable, NeedsARP, of(22), nxm(16)},
	ARPTpa:        {"arp_tpa", "", "NXM_OF_ARP_TPA", 32, 4, ipv4, masked | settable, NeedsARP, of(23), nxm(17)},
	ARPOp:         {"arp_op", "", "NXM_OF_ARP_OP", 16, 2, decimal, settable, NeedsARP, of(21), nxm(15)},
	ARPSha:        {"arp_sha", "", "NXM_NX_ARP_SHA", 48, 6, mac, masked | settable, NeedsARP, of(24), nx(17)},
	ARPTha:        {"arp_tha", "", "NXM_NX_ARP_THA", 48, 6, mac, masked | settable, NeedsARP, of(25), nx(18)},
	IPTOS:         {"nw_tos", "", "NXM_OF_IP_TOS", 8, 1, decimal, settable, NeedsIP, nxm(5), none},
	IPDSCP:        {"ip_dscp", "", "OXM_OF_IP_DSCP", 6, 1, decimal, settable, NeedsIP, of(8), none},
	IPECN:         {"nw_ecn", "", "NXM_NX_IP_ECN", 2, 1, decimal, settable, NeedsIP, of(9), nx(28)},
	IPTTL:         {"nw_ttl", "", "NXM_NX_IP_TTL", 8, 1, decimal, settable, NeedsIP, nx(29), none},
	MPLSLabel:     {"mpls_label", "", "OXM_OF_MPLS_LABEL", 20, 4, decimal, settable, NeedsMPLS, of(34), none},
	MPLSTC:        {"mpls_tc", "", "OXM_OF_MPLS_TC", 3, 1, decimal, settable, NeedsMPLS, of(35), none},
	MPLSTTL:       {"mpls_ttl", "", "NXM_NX_MPLS_TTL", 8, 1, decimal, settable, NeedsMPLS, nx(30), none},
	MPLSBOS:       {"mpls_bos", "", "OXM_OF_MPLS_BOS", 1, 1, decimal, 0, NeedsMPLS, of(36), none},
	IPFrag:        {"nw_frag", "ip_frag", "NXM_NX_IP_FRAG", 2, 1, fragment, masked, NeedsIP, nx(26), none},
	TCPSrc:        {"tp_src", "tcp_src", "NXM_OF_TCP_SRC", 16, 2, decimal, masked | settable, NeedsTCP, of(13), nxm(9)},
	TCPDst:        {"tp_dst", "tcp_dst", "NXM_OF_TCP_DST", 16, 2, decimal, masked | settable, NeedsTCP, of(14), nxm(10)},
	UDPSrc:        {"tp_src", "udp_src", "NXM_OF_UDP_SRC", 16, 2, decimal, masked | settable, NeedsUDP, of(15), nxm(11)},
	UDPDst:        {"tp_dst", "udp_dst", "NXM_OF_UDP_DST", 16, 2, decimal, masked | settable, NeedsUDP, of(16), nxm(12)},
	SCTPSrc:       {"tp_src", "sctp_src", "OXM_OF_SCTP_SRC", 16, 2, decimal, masked | settable, NeedsSCTP, of(17), none},
	SCTPDst:       {"tp_dst", "sctp_dst", "OXM_OF_SCTP_DST", 16, 2, decimal, masked | settable, NeedsSCTP, of(18), none},
	ICMPType:      {"icmp_type", "", "NXM_OF_ICMP_TYPE", 8, 1, decimal, settable, NeedsICMP, of(19), nxm(13)},
	ICMPCode:      {"icmp_code", "", "NXM_OF_ICMP_CODE", 8, 1, decimal, settable, NeedsICMP, of(20), nxm(14)},
	ICMPv6Type:    {"icmp_type", "icmpv6_type", "NXM_NX_ICMPV6_TYPE", 8, 1, decimal, settable, NeedsICMPv6, of(29), nx(21)},
	ICMPv6Code:    {"icmp_code", "icmpv6_code", "NXM_NX_ICMPV6_CODE", 8, 1, decimal, settable, NeedsICMPv6, of(30), nx(22)},
	NDTarget:      {"nd_target", "", "NXM_NX_ND_TARGET", 128, 16, ipv6, masked | settable, NeedsND, of(31), nx(23)},
	NDSll:         {"nd_sll", "", "NXM_NX_ND_SLL", 48, 6, mac, masked | settable, NeedsSolicitation, of(32), nx(24)},
	NDTll:         {"nd_tll", "", "NXM_NX_ND_TLL", 48, 6, mac, masked | settable, NeedsAdvertisement, of(33), nx(25)},
	NDReserved:    {"nd_reserved", "", "ERICOXM_OF_ICMPV6_ND_RESERVED", 32, 4, decimal, settable, NeedsND, ericsson(1), none},
	NDOptionsType: {"nd_options_type", "", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", 8, 1, decimal, settable, NeedsND, ericsson(2), none},
	TCPFlags:      {"tcp_flags", "", "NXM_NX_TCP_FLAGS", 12, 2, tcpFlags, masked, NeedsTCP, of(42), nx(34)},
}
