package lab

import (
	"context"
	"net/netip"
)

// Try makes one attempt as Probe makes it, from the network namespace that the
// caller is in, and returns who answered. protocol is icmp (the port is ignored),
// tcp, udp or sctp; by tcp a connection without an answer counts.
func Try(ctx context.Context, protocol string, to netip.AddrPort) (string, error) {
	return target{address: to.Addr(), port: int(to.Port())}.try(ctx, "", protocol, false)
}
