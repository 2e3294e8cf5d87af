package agent

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sluice-cni/sluice/flows/state"
)

// Config is what an agent is told when it starts. The comments are the
// documentation of the flags of the same names.
type Config struct {
	// Node is the name of this machine's Node object.
	Node string
	// Manifests is a directory of Kubernetes YAML that stands in for an API server.
	Manifests string
	// Kubeconfig is how to reach the API server; empty with no Manifests means the
	// in-cluster service account.
	Kubeconfig string
	// OVSDB is where ovsdb-server listens, "unix:PATH".
	OVSDB string
	// OVSRunDir is where ovs-vswitchd makes its bridges' management sockets.
	OVSRunDir string
	// RunDir is where cni.sock and agent.sock are made.
	RunDir string
	// Datapath is "auto", "system" (kernel) or "netdev" (userspace).
	Datapath string
	// Cluster is what every node must have alike.
	Cluster state.Config
	// Install is what the agent puts where the container runtime looks for plugins.
	Install Install
	// Version is the build's, for status.
	Version string
}

// Default is the configuration of a node as the distribution sets it up.
func Default() Config {
	return Config{
		OVSDB:     "unix:/var/run/openvswitch/db.sock",
		OVSRunDir: "/var/run/openvswitch",
		RunDir:    "/run/sluice",
		Datapath:  "auto",
		Cluster:   state.Config{Encapsulation: "geneve"},
	}
}

// CNISocket and AgentSocket are the agent's sockets.
func (c Config) CNISocket() string { return filepath.Join(c.RunDir, "cni.sock") }

// AgentSocket is where status, state and flows are asked for.
func (c Config) AgentSocket() string { return filepath.Join(c.RunDir, "agent.sock") }

// Validate says what is wrong, naming the flag and what is expected.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Node == "" {
		bad("--node: expected the name of this machine's Node object")
	}
	if c.Manifests != "" && c.Kubeconfig != "" {
		bad("--manifests and --kubeconfig: give one of them")
	}
	switch c.Datapath {
	case "auto", "system", "netdev":
	default:
		bad("--datapath %q: expected auto, system or netdev", c.Datapath)
	}
	switch c.Cluster.Encapsulation {
	case "geneve", "vxlan":
	default:
		bad("--encapsulation %q: expected geneve or vxlan", c.Cluster.Encapsulation)
	}
	if m := c.Cluster.MTU; m != 0 && (m < 576 || m > 65535) {
		bad("--mtu %d: expected 0 (found out from the underlay) or 576 to 65535", m)
	}
	c.Install.validate(bad)
	for _, p := range c.Cluster.ClusterCIDRs {
		if p != p.Masked() {
			bad("--cluster-cidr %s: has bits set behind its prefix, expected %s", p, p.Masked())
		}
	}
	for _, p := range c.Cluster.ServiceCIDRs {
		if p != p.Masked() {
			bad("--service-cidr %s: has bits set behind its prefix, expected %s", p, p.Masked())
		}
	}
	return errors.Join(errs...)
}
