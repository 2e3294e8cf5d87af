package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func smokeCommand(p *place) *cobra.Command {
	var o options
	var warm bool
	cmd := &cobra.Command{
		Use: "smoke", Short: "Start a cluster, try it, remove it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			return p.smoke(cmd.Context(), o, warm)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&warm, "if-built", false, "do nothing, and say so, where Kubernetes would have to be built first")
	return cmd
}

// smoke is what a machine without much time runs.
func (p place) smoke(ctx context.Context, o options, warm bool) error {
	c, err := openCache()
	if err != nil {
		return err
	}
	if missing := c.missing(c.programs(o)); warm && len(missing) > 0 {
		fmt.Printf("NOT RUN: the smoke test on a real cluster: %d programs are not in %s yet; `make cluster` builds them\n", len(missing), c.top)
		return nil
	}
	err = p.up(ctx, o)
	if err == nil {
		err = p.prove(ctx, o)
	}
	if err := errors.Join(err, p.down(ctx), p.leftovers()); err != nil {
		return err
	}
	fmt.Println("ok: the smoke test on a real cluster")
	return nil
}

// prove tries a cluster that is up, and what it was given in particular.
func (p place) prove(ctx context.Context, o options) error {
	t, err := p.trial(o.root)
	if err != nil {
		return err
	}
	var watch stopwatch
	if o.noPodCIDRs {
		if err := watch.phase("no podCIDRs: it is said; given by hand: nodes Ready", func() error { return t.podCIDRs(ctx) }); err != nil {
			return err
		}
	}
	if o.kubeProxy {
		if err := watch.phase("the API server answers by its Service", func() error { return t.services(ctx) }); err != nil {
			return err
		}
	}
	return p.try(ctx, 4, false)
}
