package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

// serve is what a pod's process runs. Whoever starts it may read a line from a
// descriptor: an empty one once it listens, else what is wrong.
func (c *command) serve() *cobra.Command {
	var serve lab.Serve
	var readyFD int
	cmd := &cobra.Command{
		Use:    "serve",
		Short:  "Answer with a line on each port, as a pod of a lab does",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tell := func(string) {}
			if readyFD > 0 {
				starter := os.NewFile(uintptr(readyFD), "starter")
				tell = func(text string) {
					fmt.Fprintln(starter, text)
					starter.Close()
				}
			}
			err := serve.Run(cmd.Context(), func() { tell("") })
			if err != nil {
				tell(err.Error())
			}
			return err
		},
	}
	cmd.Flags().StringVar(&serve.Answer, "answer", "", "the line to answer with")
	cmd.Flags().BoolVar(&serve.TellClient, "tell-client", false, "add the client's address to the line")
	cmd.Flags().StringArrayVar(&serve.Listen, "listen", nil, "tcp:PORT, udp:PORT or sctp:PORT; may be repeated")
	cmd.Flags().IntVar(&readyFD, "ready-fd", 0, "descriptor to tell on that all ports are listened on")
	return cmd
}
