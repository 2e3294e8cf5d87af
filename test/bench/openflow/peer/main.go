// Command peer lets github.com/digitalocean/go-openvswitch be measured: it is a module
// of its own, so that Sluice needs none of it. It reads commands, a line each, and
// answers with the nanoseconds that each took and how many flows it was about:
//
//	add 1000   add 1,000 flows to br0 as one bundle
//	dump       read all flows of br0
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/digitalocean/go-openvswitch/ovs"
)

const bridge = "br0"

func main() {
	client := ovs.New(ovs.Protocols([]string{"OpenFlow15"}))
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		begun, n := time.Now(), 0
		var err error
		if _, scanErr := fmt.Sscanf(lines.Text(), "add %d", &n); scanErr == nil {
			list := routes(n)
			begun = time.Now()
			err = client.OpenFlow.AddFlowBundle(bridge, func(tx *ovs.FlowTransaction) error {
				tx.Add(list...)
				return tx.Commit()
			})
		} else {
			var list []*ovs.Flow
			list, err = client.OpenFlow.DumpFlows(bridge)
			n = len(list)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			os.Exit(1)
		}
		fmt.Println(time.Since(begun).Nanoseconds(), n)
	}
}

// routes are the flows that Sluice's side is measured with, too.
func routes(n int) []*ovs.Flow {
	out := make([]*ovs.Flow, n)
	mac := net.HardwareAddr{0x0a, 0x58, 0, 0, 0, 1}
	for i := range out {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
		out[i] = &ovs.Flow{
			Table: 8, Priority: 400, Cookie: uint64(i + 1), Protocol: ovs.ProtocolIPv4, InPort: i%1000 + 1,
			Matches: []ovs.Match{ovs.DataLinkSource(mac.String()), ovs.NetworkDestination(net.IP(b[:]).String())},
			Actions: []ovs.Action{ovs.SetField(fmt.Sprintf("%#x", i), "reg1"), ovs.Resubmit(0, 17)},
		}
	}
	return out
}
