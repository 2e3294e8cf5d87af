package hazard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// tunnelPort looks for devices and sockets of others on the tunnel's UDP port: they take
// the tunnels' packets, or keep Open vSwitch from taking them.
func tunnelPort(_ context.Context, n Node) ([]Hazard, error) {
	links, err := rtnl.Links(rtnl.Here)
	var out []Hazard
	for _, l := range links {
		port := 0
		switch l := l.(type) {
		case *netlink.Vxlan:
			port = l.Port
		case *netlink.Geneve:
			port = int(l.Dport)
		}
		if name := l.Attrs().Name; port == int(n.TunnelPort) && !openvSwitchs(name) {
			out = append(out, Hazard{
				fmt.Sprintf("device %s (%s) has the tunnels' UDP port %d", name, l.Type(), port),
				fmt.Sprintf("ip link delete %s if nobody needs it, or give one of the two another port", name),
			})
		}
	}
	sockets, err2 := boundTo(n.TunnelPort)
	for _, s := range sockets {
		if who, ok := owner(s); ok {
			out = append(out, Hazard{
				fmt.Sprintf("%s listens on the tunnels' UDP port %d", who, n.TunnelPort), "stop it, or let it listen on another port",
			})
		}
	}
	return out, errors.Join(err, err2)
}

// openvSwitchs tells whether Open vSwitch makes devices of that name for its own tunnels.
func openvSwitchs(name string) bool {
	return strings.HasPrefix(name, "genev_sys_") || strings.HasPrefix(name, "vxlan_sys_")
}

// boundTo are the inodes of the UDP sockets on the port: programs', and the kernel's own
// for Open vSwitch's tunnels.
func boundTo(port uint16) ([]string, error) {
	var out []string
	for _, file := range []string{"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"} {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// sl local_address rem_address st queues tr:when retrnsmt uid timeout inode
			words := strings.Fields(lines.Text())
			if len(words) < 10 {
				continue
			}
			_, hex, _ := strings.Cut(words[1], ":")
			if p, err := strconv.ParseUint(hex, 16, 16); err == nil && p == uint64(port) {
				out = append(out, words[9])
			}
		}
		err = errors.Join(lines.Err(), f.Close())
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// owner names the program that has the socket; ok is false if none has: then it is the
// kernel's own.
func owner(inode string) (name string, ok bool) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		comm, _ := os.ReadFile(filepath.Join(process, "comm"))
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(comm)), filepath.Base(process)), true
	}
	return "", false
}
