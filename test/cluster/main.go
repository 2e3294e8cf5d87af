package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	// The first signal lets the command end by itself, the second ends it.
	context.AfterFunc(ctx, stop)
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sluice-cluster:", err)
		os.Exit(1)
	}
}

// progress is for people who wait.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func newCommand() *cobra.Command {
	var p place
	name := "c1"
	root := &cobra.Command{
		Use:   "sluice-cluster",
		Short: "A real Kubernetes on this machine, with Sluice in it",
		Long: `sluice-cluster runs a real Kubernetes on this machine, with Sluice in it: real
kubelets and containerds, each in namespaces of its own. It needs root.

  sluice-cluster up                           two nodes, Sluice installed
  sluice-cluster try                          pods on both nodes, and what reaches what
  sluice-cluster kubectl -- get pods -A -o wide
  sluice-cluster node n1 -- bin/sluicectl check   a command on a node
  sluice-cluster down`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			if os.Geteuid() != 0 {
				return fmt.Errorf("%s: must be root: nodes are made of namespaces", cmd.Name())
			}
			p, err = newPlace(name)
			return err
		},
	}
	root.PersistentFlags().StringVar(&name, "name", name, "which cluster, where several run on one machine")
	root.AddCommand(upCommand(&p), downCommand(&p), tryCommand(&p), servicesCommand(&p), policiesCommand(&p), disturbCommand(&p), rightsCommand(&p), benchCommand(&p), smokeCommand(&p), kubectlCommand(&p), nodeCommand(&p), forwardCommand(), machineCommand(), compareCommand())
	return root
}

func (o *options) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.nodes, "nodes", 2, "how many nodes n1, n2, ... there shall be")
	cmd.Flags().BoolVar(&o.kubeProxy, "kube-proxy", false, "run kube-proxy on each node")
	cmd.Flags().BoolVar(&o.noPodCIDRs, "no-pod-cidrs", false, "give nodes no podCIDRs (kube-controller-manager without --allocate-node-cidrs)")
	cmd.Flags().StringVar(&o.root, "root", ".", "the checkout")
	cmd.Flags().StringVar(&o.bin, "bin-dir", "", "where the executables are (default: beside this program)")
}

// complete makes paths absolute.
func (o *options) complete() error {
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.bin = filepath.Dir(self)
	}
	var err error
	o.root, err = filepath.Abs(o.root)
	return err
}

func upCommand(p *place) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "up", Short: "Start the cluster and install Sluice; it stays up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			if err := p.up(cmd.Context(), o); err != nil {
				return fmt.Errorf("%w\nIt is left as it is in %s; `sluice-cluster down` removes it", err, p.dir())
			}
			fmt.Printf("export KUBECONFIG=%s\n", p.kubeconfig())
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.bare, "bare", false, "do not install Sluice")
	return cmd
}

func downCommand(p *place) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Remove the cluster, or what is left of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			err := p.down(cmd.Context())
			if err == nil {
				progress("cluster %q is down, in %.1f s", p.name, time.Since(began).Seconds())
			}
			return err
		},
	}
}

func kubectlCommand(p *place) *cobra.Command {
	return &cobra.Command{
		Use: "kubectl -- ARGUMENTS", Short: "Run kubectl as the cluster's administrator",
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := openCache()
			if err != nil {
				return err
			}
			program := c.kubernetes("kubectl")
			return unix.Exec(program, append([]string{program, "--kubeconfig", p.kubeconfig()}, args...), os.Environ())
		},
	}
}

func nodeCommand(p *place) *cobra.Command {
	return &cobra.Command{
		Use: "node NAME -- COMMAND", Short: "Run a command on a node", Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if strings.Contains(args[1], "/") { // the command begins in the node's root directory
				var err error
				if args[1], err = filepath.Abs(args[1]); err != nil {
					return err
				}
			}
			argv, err := p.enter(args[0], args[1:]...)
			if err != nil {
				return err
			}
			nsenter, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			return unix.Exec(nsenter, argv, os.Environ())
		},
	}
}

func forwardCommand() *cobra.Command {
	var path, to, portFile string
	cmd := &cobra.Command{
		Use: "forward", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return forward(cmd.Context(), path, to, portFile) },
	}
	cmd.Flags().StringVar(&path, "netns", "", "network namespace to connect from")
	cmd.Flags().StringVar(&to, "to", "", "address:port to connect to")
	cmd.Flags().StringVar(&portFile, "port-file", "", "where to write the port that is listened on")
	return cmd
}

func machineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "machine FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := readMachine(args[0])
			if err != nil {
				return err
			}
			return m.run()
		},
	}
}
