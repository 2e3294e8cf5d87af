package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// resolveBound is how long the DNS servers may take for all names of a search list.
const resolveBound = 20 * time.Second

// lookUp returns a name's IPv4 addresses, sorted, by what the pod's resolv.conf says.
func lookUp(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	if err != nil {
		return "", err
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.Unmap().String())
	}
	return strings.Join(texts, ","), nil
}

// resolve takes an address or a name, and a port.
func resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	if to, err := netip.ParseAddrPort(hostPort); err == nil {
		return to, nil
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addresses, err := lookUp(ctx, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	first, _, more := strings.Cut(addresses, ",")
	if more {
		return netip.AddrPort{}, fmt.Errorf("%s has several addresses: %s", host, addresses)
	}
	return netip.ParseAddrPort(net.JoinHostPort(first, port))
}
