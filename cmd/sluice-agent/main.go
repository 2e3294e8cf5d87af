// Command sluice-agent is Sluice's node daemon: it programs this node's Open
// vSwitch from the cluster's state, and serves the CNI executable.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sluice-agent:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	cfg := agent.Default()
	cfg.Version = version
	cfg.Node = os.Getenv("NODE_NAME")
	var level string
	var clusterCIDRs, serviceCIDRs []string
	cmd := &cobra.Command{
		Use:           "sluice-agent --node NAME [--manifests DIR | --kubeconfig FILE]",
		Short:         "Sluice's node daemon: programs this node's Open vSwitch from the cluster's state",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level %q: expected debug, info, warn or error", level)
			}
			var err error
			if cfg.Cluster.ClusterCIDRs, err = prefixes("cluster-cidr", clusterCIDRs); err != nil {
				return err
			}
			if cfg.Cluster.ServiceCIDRs, err = prefixes("service-cidr", serviceCIDRs); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			a, err := agent.New(cfg, log)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Node, "node", cfg.Node, "name of this machine's Node object (default: $NODE_NAME)")
	f.StringVar(&cfg.Manifests, "manifests", "", "directory of Kubernetes YAML to take the state from, instead of an API server")
	f.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: the in-cluster service account)")
	f.StringVar(&cfg.OVSDB, "ovs-db", cfg.OVSDB, "where ovsdb-server listens")
	f.StringVar(&cfg.OVSRunDir, "ovs-rundir", cfg.OVSRunDir, "where ovs-vswitchd makes its bridges' management sockets")
	f.StringVar(&cfg.RunDir, "run-dir", cfg.RunDir, "where cni.sock and agent.sock are made")
	f.StringVar(&cfg.Datapath, "datapath", cfg.Datapath, "Open vSwitch datapath: auto, system (kernel) or netdev (userspace)")
	f.StringVar(&cfg.Cluster.Encapsulation, "encapsulation", cfg.Cluster.Encapsulation, "tunnels between nodes: geneve or vxlan; all nodes alike")
	f.IntVar(&cfg.Cluster.MTU, "mtu", 0, "MTU of pods in bytes (0: the underlay device's less the encapsulation's overhead)")
	f.StringSliceVar(&clusterCIDRs, "cluster-cidr", nil, "range that holds all podCIDRs: what is in it and belongs to no node is dropped (may be repeated)")
	f.StringSliceVar(&serviceCIDRs, "service-cidr", nil, "range of the Services' virtual addresses: what is in it and belongs to no Service is refused (may be repeated)")
	f.BoolVar(&cfg.Cluster.NoMasquerade, "no-masquerade", false, "leave pods' own addresses on what leaves the cluster")
	f.StringVar(&cfg.Install.BinDir, "cni-bin-dir", "", "the container runtime's directory of CNI plugins, to put ours into (default: somebody else does)")
	f.StringVar(&cfg.Install.FromBinDir, "cni-bin-source", "", "directory of the plugins to put there: sluice, and others as far as they are missing")
	f.StringVar(&cfg.Install.ConfDir, "cni-conf-dir", "", "the runtime's directory of network configurations, to put ours into once pods can be served")
	f.StringVar(&cfg.Install.FromConf, "cni-conf-source", "", "the network configuration to put there, under its own name")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// prefixes reads the values of a flag.
func prefixes(flag string, list []string) (out []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: expected a CIDR like 10.244.0.0/16", flag, text)
		}
		out = append(out, p)
	}
	return out, nil
}
