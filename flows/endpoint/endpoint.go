// Package endpoint reads how every command names one end of a connection.
package endpoint

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind says what an Endpoint names.
type Kind int

// The kinds of endpoints.
const (
	Pod Kind = iota
	Address
	Service
	Node
	Outside
)

// Endpoint is one end of a connection as commands name it: "[namespace/]pod", an
// IP address, "svc/namespace/name", "node/name" or "outside"; with
// ":port[/protocol]" where a port is meant, and an IPv6 address in brackets then.
type Endpoint struct {
	Kind Kind
	// Namespace is of a pod or service, "default" if it was not said.
	Namespace string
	// Name is of a pod, service or node.
	Name    string
	Address netip.Addr
	// Port is 0 if none was said.
	Port int
	// Protocol is tcp, udp, sctp or empty.
	Protocol string
}

var endpointPort = regexp.MustCompile(`^(.+):(\d+)(?:/([A-Za-z]+))?$`)

// Parse reads an endpoint. Whether there is such a thing is not asked.
func Parse(text string) (Endpoint, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return Endpoint{Kind: Address, Address: address.Unmap()}, nil
	}
	end := Endpoint{}
	name := text
	if match := endpointPort.FindStringSubmatch(text); match != nil {
		port, err := strconv.Atoi(match[2])
		if err != nil || port < 1 || port > 65535 {
			return Endpoint{}, fmt.Errorf("endpoint %q: port %s is none: 1 to 65535 are", text, match[2])
		}
		name, end.Port, end.Protocol = match[1], port, strings.ToLower(match[3])
		if !slices.Contains([]string{"", "tcp", "udp", "sctp"}, end.Protocol) {
			return Endpoint{}, fmt.Errorf("endpoint %q: protocol %q is unknown: use tcp, udp or sctp", text, match[3])
		}
	}
	parts := strings.Split(name, "/")
	address, notAddress := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case notAddress == nil:
		end.Kind, end.Address = Address, address.Unmap()
	case slices.Contains(parts, "") || strings.ContainsAny(name, ":[] "):
		return Endpoint{}, bad(text)
	case name == "outside":
		end.Kind = Outside
	case len(parts) == 1:
		end.Namespace, end.Name = "default", name
	case len(parts) == 2 && parts[0] == "node":
		end.Kind, end.Name = Node, parts[1]
	case len(parts) == 2:
		end.Namespace, end.Name = parts[0], parts[1]
	case len(parts) == 3 && parts[0] == "svc":
		end.Kind, end.Namespace, end.Name = Service, parts[1], parts[2]
	default:
		return Endpoint{}, bad(text)
	}
	return end, nil
}

func bad(text string) error {
	return fmt.Errorf("%q is no endpoint: write [namespace/]pod, an IP address, svc/namespace/name, node/name or outside, with :port[/protocol] where a port is meant", text)
}

// String is the endpoint without its port, in the long form.
func (e Endpoint) String() string {
	switch e.Kind {
	case Address:
		return e.Address.String()
	case Service:
		return "svc/" + e.Namespace + "/" + e.Name
	case Node:
		return "node/" + e.Name
	case Outside:
		return "outside"
	}
	return e.Namespace + "/" + e.Name
}
