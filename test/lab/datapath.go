package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-cni/sluice/ovs/daemon"
)

// Datapath is where the switches forward: in the kernel, or in ovs-vswitchd.
type Datapath string

// The datapaths of Open vSwitch (bridge column datapath_type).
const (
	SystemDatapath Datapath = "system"
	NetdevDatapath Datapath = "netdev"
)

// machineDatapath is what this machine has: the kernel's datapath if its module
// is there or can be loaded.
func machineDatapath(ctx context.Context) Datapath {
	if _, err := os.Stat("/sys/module/openvswitch"); err == nil {
		return SystemDatapath
	}
	if exec.CommandContext(ctx, "modprobe", "--quiet", "openvswitch").Run() == nil {
		return SystemDatapath
	}
	return NetdevDatapath
}

// physicalBridge is the bridge that has the node's address and its network card
// where the datapath is in userspace.
const physicalBridge = "br-phy"

// restoreUnderlay puts the node on the underlay network: at its start, and after
// ovs-vswitchd was away.
//
// With the kernel's datapath the network card has the address, as on any
// machine. The userspace datapath looks tunnel routes up among the addresses of
// its own bridges' local ports only ("native tunnel routing failed" is what it
// says else), so there the card is a port of a bridge that does plain switching,
// and that bridge's local port has the card's MAC and the node's address and
// routes. The port's device may outlive ovs-vswitchd or not, and it may have kept its
// address or not: so all is set again.
func (h host) restoreUnderlay(ctx context.Context) error {
	node := h.state.node(h.name)
	if node == nil {
		return fmt.Errorf("node %s is not in this lab", h.name)
	}
	inside, err := openNetns(h.netns())
	if err != nil {
		return err
	}
	defer inside.Close()
	if h.state.Datapath != NetdevDatapath {
		return h.giveAddresses(inside, nodeNIC, *node)
	}
	nic, err := inside.LinkByName(nodeNIC)
	if err != nil {
		return fmt.Errorf("find %s: %w", nodeNIC, err)
	}
	mac := nic.Attrs().HardwareAddr.String()
	err = h.vsctl(ctx, "--may-exist", "add-br", physicalBridge,
		"--", "set", "bridge", physicalBridge, "datapath_type=netdev", "fail_mode=standalone",
		`other_config:hwaddr="`+mac+`"`, "other_config:disable-in-band=true",
		"--", "--may-exist", "add-port", physicalBridge, nodeNIC)
	if err != nil {
		return err
	}
	if err := withoutChecksumOffload(h.netns(), physicalBridge); err != nil {
		return err
	}
	// The card's frames are the bridge's: the card itself must not speak.
	if err := errors.Join(setIPv6(h.netns(), nodeNIC, "disable_ipv6", "1"), setIPv6(h.netns(), physicalBridge, "accept_dad", "0")); err != nil {
		return err
	}
	return h.giveAddresses(inside, physicalBridge, *node)
}

// giveAddresses gives a device the node's addresses on the underlay, and the default
// routes.
func (h host) giveAddresses(inside *inside, device string, node nodeState) error {
	for _, address := range h.state.wired(node) {
		if err := inside.address(device, address, h.state.gateway(address)); err != nil {
			return err
		}
	}
	return nil
}

// vsctl runs ovs-vsctl on the node's database; it returns when ovs-vswitchd has
// done what was asked for.
func (h host) vsctl(ctx context.Context, args ...string) error {
	path, err := daemon.LookPath("ovs-vsctl")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--db=unix:" + h.ovsdbSocket(), "--timeout=20"}, args...)...)
	// It may wait for long, and must not outlive the lab if this program crashes.
	cmd.Env = append(os.Environ(), marker+"="+filepath.Join(h.dir, "ovs-vsctl"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ovs-vsctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
