package flows

import (
	"fmt"
	"strconv"
)

// OpenFlow port numbers that mean something to the switch (OpenFlow 1.5, 7.2.1),
// and the ones that are fixed on the integration bridge.
const (
	PortInPort     uint32 = 0xfffffff8
	PortController uint32 = 0xfffffffd
	PortLocal      uint32 = 0xfffffffe

	PortTunnel  uint32 = 1
	PortGateway uint32 = 2
	PortUplink  uint32 = 3
)

var reservedPorts = map[uint32]string{
	PortInPort:     "IN_PORT",
	PortController: "CONTROLLER",
	PortLocal:      "LOCAL",
}

func portText(p uint32) string {
	if name, ok := reservedPorts[p]; ok {
		return name
	}
	return strconv.FormatUint(uint64(p), 10)
}

func parsePort(s string) (uint32, error) {
	for p, name := range reservedPorts {
		if s == name {
			return p, nil
		}
	}
	p, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no OpenFlow port", s)
	}
	return uint32(p), nil
}
