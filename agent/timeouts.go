package agent

import (
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/db"
)

// halfOpen are how long conntrack keeps what has opened a connection and was not answered, in seconds: a pod that scans,
// or whose backend is silent, takes little room from the others. The kernel keeps an unanswered SYN for 120 by itself,
// Open vSwitch in userspace a SYN for 30, a datagram for 60, and a connection that was reset for 30. A
// client sends a SYN again after 1, 2, 4, 8 and 16 seconds: within these it stays with its backend.
var halfOpen = db.Timeouts{
	"tcp_syn_sent": 20, "tcp_syn_sent2": 20, "tcp_syn_recv": 20, "tcp_close": 10,
	"udp_first": 30, "udp_single": 30, "icmp_first": 30,
}

// zoneTimeouts are the same for both zones: a restarted ovs-vswitchd 3.1 was seen to give one zone what the kernel still had
// for the other.
var zoneTimeouts = map[uint16]db.Timeouts{flows.ZonePods: halfOpen, flows.ZoneSources: halfOpen}
