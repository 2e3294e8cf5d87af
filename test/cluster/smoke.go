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
	if o.noPodCIDRs {
		var watch stopwatch
		if err := watch.phase("no podCIDRs: it is said; given by hand: nodes Ready", func() error { return t.podCIDRs(ctx) }); err != nil {
			return err
		}
		return p.try(ctx, 4, false)
	}
	if o.kubeProxy {
		return t.services(ctx)
	}
	return t.brief(ctx)
}

// brief is of each trial what takes little time, with pods that are deleted once.
func (t trial) brief(ctx context.Context) error {
	t.pods = 4
	if err := t.look(ctx); err != nil {
		return err
	}
	return inTurn(ctx, []phase{
		{"pods Running and Ready", t.create},
		{"each pod tries each, its node, the API, outside", t.reach},
		{"logs, exec, port-forward", t.streams},
		{"Deployments, DaemonSets and their Services", func(ctx context.Context) error {
			return errors.Join(t.createServices(ctx), t.createPolicied(ctx))
		}},
		{"names, and what they lead to", t.names},
		{"environment", t.environment},
		{"from everywhere to everywhere", t.cells},
		{"policies", func(ctx context.Context) error {
			for _, step := range policySteps {
				if step.long {
					continue
				}
				if err := t.policyStep(ctx, step); err != nil {
					return fmt.Errorf("%s: %w", step.name, err)
				}
			}
			return nil
		}},
		{"pods deleted, nothing left on the nodes", t.delete},
	})
}
