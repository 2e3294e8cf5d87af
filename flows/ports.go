package flows

import (
	"fmt"
	"strconv"
	"strings"
)

// OpenFlow port numbers that mean something to the switch (OpenFlow 1.5, 7.2.1),
// and the ones that are fixed on the integration bridge.
const (
	PortUnset      uint32 = 0xfffffff7
	PortInPort     uint32 = 0xfffffff8
	PortTable      uint32 = 0xfffffff9
	PortNormal     uint32 = 0xfffffffa
	PortFlood      uint32 = 0xfffffffb
	PortAll        uint32 = 0xfffffffc
	PortController uint32 = 0xfffffffd
	PortLocal      uint32 = 0xfffffffe
	PortNone       uint32 = 0xffffffff

	PortTunnel  uint32 = 1
	PortGateway uint32 = 2
	PortUplink  uint32 = 3
)

var reservedPorts = map[uint32]string{
	PortUnset:      "UNSET",
	PortInPort:     "IN_PORT",
	PortTable:      "TABLE",
	PortNormal:     "NORMAL",
	PortFlood:      "FLOOD",
	PortAll:        "ALL",
	PortController: "CONTROLLER",
	PortLocal:      "LOCAL",
	PortNone:       "ANY",
}

var reservedByName = func() map[string]uint32 {
	index := map[string]uint32{}
	for p, name := range reservedPorts {
		index[name], index[strings.ToLower(name)] = p, p
	}
	return index
}()

func portText(p uint32) string {
	if name, ok := reservedPorts[p]; ok {
		return name
	}
	return strconv.FormatUint(uint64(p), 10)
}

func parsePort(s string) (uint32, error) {
	if p, ok := reservedByName[s]; ok {
		return p, nil
	}
	p, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no OpenFlow port", s)
	}
	return uint32(p), nil
}
