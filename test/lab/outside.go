package lab

import (
	"context"
	"net/netip"
	"path/filepath"
)

// outsidePorts are what the outside machine listens on.
var outsidePorts = []Port{{8080, "TCP"}, {8080, "UDP"}, {8080, "SCTP"}}

// startOutside makes a machine that is no node: it stands on the underlay, is the
// nodes' default gateway, and has no route to pods, so that it answers a pod
// only if a node has put its own address in the pod's place. It answers a
// connection or a datagram with "outside" and the address that it came from.
func (s *session) startOutside(ctx context.Context) error {
	path := s.outsideNetns()
	if err := createNetns(path); err != nil {
		return err
	}
	if err := s.connect(path, outsideNIC, "outside", s.state.MTU); err != nil {
		return err
	}
	if s.state.Datapath == NetdevDatapath {
		if err := withoutChecksumOffload(path, outsideNIC); err != nil {
			return err
		}
	}
	there, err := openNetns(path)
	if err != nil {
		return err
	}
	defer there.Close()
	// It says that an unknown address is unreachable, rather than to be silent.
	if err := setSysctl(path, "net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	for _, address := range s.state.outside() {
		if err := there.address(outsideNIC, address, netip.Addr{}); err != nil {
			return err
		}
		if address.Is6() {
			if err := setSysctl(path, "net/ipv6/conf/all/forwarding", "1"); err != nil {
				return err
			}
		}
	}
	argv := []string{filepath.Join(s.state.BinDir, labExecutable), "serve", "--ready-fd", "3", "--answer", "outside", "--tell-client"}
	server := process{file: filepath.Join(s.dir(), "outside"), log: s.outsideLog(), netns: path, argv: append(argv, listenArgs(outsidePorts)...), ready: true}
	return server.start(ctx)
}
