package state

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// HostPort is a port of the node that leads to a port of a pod (hostPort of a container's port).
type HostPort struct {
	// Address is the node's address on which it is: 0.0.0.0 or :: are all of that family, and an
	// invalid one all of both.
	Address  netip.Addr `json:"hostIP,omitzero"`
	Protocol Protocol   `json:"protocol"`
	Port     uint16     `json:"hostPort"`
	// PodPort is the pod's.
	PodPort uint16 `json:"containerPort"`
}

// Everywhere tells whether it is on all of the node's addresses, of one family at least.
func (h HostPort) Everywhere() bool { return !h.Address.IsValid() || h.Address.IsUnspecified() }

// Serves tells whether it leads to a pod's address: those of one family only lead to that.
func (h HostPort) Serves(pod netip.Addr) bool {
	return !h.Address.IsValid() || h.Address.Is4() == pod.Is4()
}

// Overlaps tells whether a packet to the node could be meant for both.
func (h HostPort) Overlaps(o HostPort) bool {
	switch {
	case h.Protocol != o.Protocol || h.Port != o.Port:
		return false
	case !h.Address.IsValid() || !o.Address.IsValid():
		return true
	case h.Address.Is4() != o.Address.Is4():
		return false
	}
	return h.Everywhere() || o.Everywhere() || h.Address == o.Address
}

// CompareHostPorts is their order: by protocol, port, address.
func CompareHostPorts(a, b HostPort) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address), cmp.Compare(a.PodPort, b.PodPort))
}

// OnNode is the node's end, 8080/TCP or 10.9.0.1:8080/TCP.
func (h HostPort) OnNode() string {
	return h.node() + "/" + string(h.Protocol)
}

func (h HostPort) node() string {
	if !h.Address.IsValid() {
		return strconv.Itoa(int(h.Port))
	}
	return netip.AddrPortFrom(h.Address, h.Port).String()
}

// String is both ends, 8080:80/TCP or 10.9.0.1:8080:80/TCP.
func (h HostPort) String() string {
	return fmt.Sprintf("%s:%d/%s", h.node(), h.PodPort, h.Protocol)
}

// ParseHostPort reads what String writes.
func ParseHostPort(s string) (HostPort, error) {
	ends, protocol, _ := strings.Cut(s, "/")
	h := HostPort{Protocol: Protocol(protocol)}
	colon := strings.LastIndexByte(ends, ':')
	if colon < 0 || h.Protocol.Number() == 0 {
		return HostPort{}, fmt.Errorf("expected a host port such as 8080:80/TCP, found %.100q", s)
	}
	node, podPort := ends[:colon], ends[colon+1:]
	if strings.Contains(node, ":") {
		at, err := netip.ParseAddrPort(node)
		if err != nil {
			return HostPort{}, err
		}
		h.Address, h.Port = at.Addr(), at.Port()
	} else if err := parsePort(node, &h.Port); err != nil {
		return HostPort{}, err
	}
	return h, parsePort(podPort, &h.PodPort)
}

func parsePort(s string, into *uint16) error {
	n, err := strconv.ParseUint(s, 10, 16)
	*into = uint16(n)
	return err
}
