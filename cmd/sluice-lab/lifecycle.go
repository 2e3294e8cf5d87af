package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) up() *cobra.Command {
	options := lab.Options{Out: os.Stderr}
	var files []string
	var datapath, families, underlay string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab",
		Long: `up starts a lab, and returns when its pods run and everything is in force on
every node. If that fails, or it is interrupted, nothing is left of it.

Nodes named n1, n2, ... are made up as far as the YAML does not have them; other
Nodes in it are added. Pods are spread over the nodes unless they say
spec.nodeName. Each listens on the ports that it declares and answers with
namespace/name. Without -f there are two pods on each node.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Nodes < 1 {
				return fmt.Errorf("--nodes %d: a lab has one at least", options.Nodes)
			}
			options.Name, options.Datapath = c.name, lab.Datapath(datapath)
			options.Families, options.Underlay = lab.Families(families), lab.Families(underlay)
			if len(files) > 0 {
				objects, err := lab.ReadObjects(files, cmd.InOrStdin())
				if err != nil {
					return err
				}
				options.Objects = append([]lab.Object{}, objects...)
			}
			started, err := lab.Up(cmd.Context(), options)
			if err != nil {
				return err
			}
			listing, err := started.List()
			if err != nil {
				return err
			}
			return writeListing(cmd.OutOrStdout(), listing)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&options.Nodes, "nodes", 2, "how many nodes n1, n2, ... there shall be")
	fileFlag(cmd, &files)
	flags.StringVar(&datapath, "datapath", "", "system (the kernel's) or netdev (in userspace); default: what this machine has")
	flags.StringVar(&families, "families", "ipv4", "the pods' address families: ipv4, ipv6, dual or dual-ipv6-first")
	flags.StringVar(&underlay, "underlay", "ipv4", "the same of the nodes' own addresses")
	flags.IntVar(&options.MTU, "mtu", lab.DefaultMTU, "the MTU of the network between the nodes")
	flags.StringVar(&options.BinDir, "bin-dir", "", "where sluice-agent and sluice-cni are; default: beside this program")
	flags.BoolVar(&options.KeepFailed, "keep-failed", false, "leave a lab that does not come up as it is, to look at it")
	timeoutFlag(cmd, &options.Timeout)
	return cmd
}

func (c *command) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove a lab, or what is left of it after a crash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), c.name, os.Stderr)
		},
	}
}

func fileFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file or directory of Kubernetes YAML, or - for stdin; may be repeated")
}
