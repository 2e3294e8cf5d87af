package conf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PortMapping is a port of the node that leads to one of the container's.
type PortMapping struct {
	// HostIP is the node's address on which it is: 0.0.0.0 or :: are all of that family, and an
	// invalid one all of both.
	HostIP netip.Addr
	// Protocol is tcp, udp or sctp.
	Protocol                string
	HostPort, ContainerPort uint16
}

var portProtocols = []string{"tcp", "udp", "sctp"}

// overlaps tells whether a packet to the node could be meant for both.
func (m PortMapping) overlaps(o PortMapping) bool {
	everywhere := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return m.Protocol == o.Protocol && m.HostPort == o.HostPort &&
		(!m.HostIP.IsValid() || !o.HostIP.IsValid() ||
			m.HostIP.Is4() == o.HostIP.Is4() && (everywhere(m.HostIP) || everywhere(o.HostIP) || m.HostIP == o.HostIP))
}

// portMappings reads them in the words of CNI's conventions, as runtimes write them.
func (f field) portMappings(c *Conf) error {
	var items []json.RawMessage
	if json.Unmarshal(f.value, &items) != nil {
		return f.bad(`a list of {"hostPort", "containerPort", "protocol", "hostIP"}`)
	}
	var names []string
	for i, item := range items {
		one := field{name: fmt.Sprintf("%s[%d]", f.name, i), value: item}
		m, err := one.portMapping()
		if err != nil {
			return err
		}
		if slices.Contains(c.PortMappings, m) {
			continue
		}
		if j := slices.IndexFunc(c.PortMappings, m.overlaps); j >= 0 {
			return one.bad("another host port than " + names[j] + "'s")
		}
		c.PortMappings, names = append(c.PortMappings, m), append(names, one.name)
	}
	return nil
}

func (f field) portMapping() (m PortMapping, err error) {
	readers := map[string]func(field) error{
		"hostPort":      func(f field) error { return f.port(&m.HostPort) },
		"containerPort": func(f field) error { return f.port(&m.ContainerPort) },
		"protocol":      func(f field) error { return f.protocol(&m.Protocol) },
		"hostIP":        func(f field) error { return f.hostIP(&m.HostIP) },
	}
	err = f.each(`an object of "hostPort", "containerPort", "protocol" and "hostIP"`, func(member field, name string) error {
		read := readers[name]
		if read == nil {
			return member.bad(`one of hostPort, containerPort, protocol and hostIP`)
		}
		return read(member)
	})
	switch {
	case err != nil:
	case m.HostPort == 0:
		err = field{name: f.name + ".hostPort"}.bad(aPort)
	case m.ContainerPort == 0:
		err = field{name: f.name + ".containerPort"}.bad(aPort)
	case m.Protocol == "":
		m.Protocol = portProtocols[0]
	}
	return m, err
}

const aPort = "a port, 1 to 65535"

func (f field) port(into *uint16) error {
	if f.null() || json.Unmarshal(f.value, into) != nil || *into == 0 {
		return f.bad(aPort)
	}
	return nil
}

func (f field) protocol(into *string) error {
	var s string
	if json.Unmarshal(f.value, &s) != nil || s != "" && !slices.Contains(portProtocols, strings.ToLower(s)) {
		return f.bad("one of " + strings.Join(portProtocols, ", "))
	}
	*into = strings.ToLower(s)
	return nil
}

func (f field) hostIP(into *netip.Addr) error {
	var s string
	if json.Unmarshal(f.value, &s) != nil {
		return f.bad(`an address of the node's, such as "192.0.2.7"`)
	}
	if s == "" {
		return nil
	}
	addr, err := netip.ParseAddr(s)
	if addr = addr.Unmap(); err != nil || addr.Zone() != "" || addr.IsMulticast() || addr.IsLinkLocalUnicast() {
		return f.bad(`an address of the node's, such as "192.0.2.7"`)
	}
	*into = addr
	return nil
}
