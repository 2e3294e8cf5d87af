package lab

import (
	"context"
	"fmt"

	"github.com/sluice-cni/sluice/agent/api"
)

// Consistent returns when the agent of each node that has one finds nothing
// inconsistent: ports, cables, namespaces, addresses and flows fit together (package
// agent/invariant). It waits for what is under way, as the agent collects containers
// whose namespace is gone; when ctx ends it tells what is left.
func (l *Lab) Consistent(ctx context.Context) error {
	list, err := l.List()
	if err != nil {
		return err
	}
	for _, node := range list.Nodes {
		if node.PIDs.Agent == 0 {
			continue
		}
		err := await(ctx, "node "+node.Name+" to be consistent", func(ctx context.Context) error {
			broken, err := api.NewClient(node.AgentSocket).Check(ctx)
			if err == nil && len(broken) > 0 {
				err = fmt.Errorf("%+v", broken)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
