package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/kube"
)

func rightsCommand(p *place) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "rights", Short: "Take each of the agent's rights away in turn, and prove that it is named and pods go on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			t, err := p.trial(o.root)
			if err != nil {
				return err
			}
			return t.rights(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.root, "root", ".", "the checkout")
	return cmd
}

// readRole reads the agents' ClusterRole out of the manifest.
func readRole(root string) (*rbacv1.ClusterRole, error) {
	file := filepath.Join(root, "build/manifests/sluice.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		role := new(rbacv1.ClusterRole)
		if err := yaml.Unmarshal(document, role); err == nil && role.Kind == "ClusterRole" {
			return role, nil
		}
	}
	return nil, fmt.Errorf("%s: there is no ClusterRole", file)
}

// rightsOf are all that a role gives.
func rightsOf(role *rbacv1.ClusterRole) []kube.Right {
	var out []kube.Right
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					out = append(out, kube.Right{Group: group, Resource: resource, Verb: verb})
				}
			}
		}
	}
	return out
}

// without are the rules that give all rights but those.
func without(role *rbacv1.ClusterRole, taken ...kube.Right) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rightsOf(role) {
		if !slices.Contains(taken, r) {
			out = append(out, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}, Verbs: []string{r.Verb}})
		}
	}
	return out
}

// rights takes each right away, alone, and then all of pods together: an ADD needs those
// then, and goes on with a warning.
func (t trial) rights(ctx context.Context) error {
	role, err := readRole(t.root)
	if err != nil {
		return err
	}
	if err := t.ensureNamespace(ctx); err != nil {
		return err
	}
	var watch stopwatch
	var ofPods []kube.Right
	for _, r := range rightsOf(role) {
		if r.Resource == "pods" {
			ofPods = append(ofPods, r)
		}
		if err := watch.phase("without the right to "+r.String(), func() error { return t.withoutRights(ctx, role, nil, r) }); err != nil {
			return err
		}
	}
	err = watch.phase("without any right of pods", func() error {
		return t.withoutRights(ctx, role, func(log string) error {
			for _, want := range []string{"going on without the Pod object", `cannot get resource \"pods\"`} {
				if !strings.Contains(log, want) {
					return fmt.Errorf("the agent plugged a pod in, and its log does not have %q", want)
				}
			}
			return nil
		}, ofPods...)
	})
	if err == nil {
		err = t.delete(ctx)
	}
	progress("\n%s\n", &watch)
	return err
}

// rightsBound is how long a right that was given again may stay unused: a refused watch is
// tried again after half a minute at most.
const rightsBound = 90 * time.Second

// withoutRights takes rights away, and gives them again, under an agent that starts without
// them. look, if there is one, looks at its log when a pod was plugged in.
func (t trial) withoutRights(ctx context.Context, role *rbacv1.ClusterRole, look func(log string) error, taken ...kube.Right) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	node := listing.Nodes[0].Name
	if err := t.setRules(ctx, role.Name, without(role, taken...)); err != nil {
		return err
	}
	started, err := t.lacking(ctx, node, taken, look)
	// Given again in any case: the next one is to be alone.
	if err := errors.Join(err, t.setRules(context.WithoutCancel(ctx), role.Name, role.Rules)); err != nil {
		return err
	}
	return await(ctx, "the agent to have its rights again", rightsBound, func(ctx context.Context) error {
		status, err := t.agent(node).Status(ctx)
		switch {
		case err != nil:
			return err
		case !status.Ready || len(status.Problems) > 0:
			return fmt.Errorf("its problems: %q", status.Problems)
		case !status.Started.Equal(started):
			return errors.New("it was restarted")
		}
		return nil
	})
}

// lacking restarts a node's agent without the rights that were taken, and sees that it names
// them and plugs a pod in. It returns when the agent started.
func (t trial) lacking(ctx context.Context, node string, taken []kube.Right, look func(log string) error) (time.Time, error) {
	status, err := t.restartAgent(ctx, node)
	if err != nil {
		return time.Time{}, err
	}
	var want []string
	for _, r := range taken {
		want = append(want, r.String())
	}
	named := "the agent may not " + strings.Join(want, ", ") + ": "
	var log string
	err = await(ctx, "the agent to name the right", 30*time.Second, func(ctx context.Context) error {
		status, err := t.agent(node).Status(ctx)
		if err != nil {
			return err
		}
		if log, err = t.agentLog(ctx, node); err != nil {
			return err
		}
		if !strings.Contains(log, named) {
			return fmt.Errorf("its log does not have %q", named)
		}
		var others []string
		for _, p := range status.Problems {
			if strings.Contains(p, "may not") && !strings.Contains(p, named) {
				others = append(others, p)
			}
		}
		if len(others) > 0 || !slices.ContainsFunc(status.Problems, func(p string) bool { return strings.Contains(p, named) }) {
			return fmt.Errorf("its status does not have %q alone: %q", named, status.Problems)
		}
		return nil
	})
	if err != nil {
		return status.Started, err
	}
	if err := t.single(ctx, node); err != nil {
		return status.Started, err
	}
	if look != nil {
		if log, err = t.agentLog(ctx, node); err != nil {
			return status.Started, err
		}
		err = look(log)
	}
	return status.Started, errors.Join(err, t.deleteSingle(ctx))
}

func (t trial) setRules(ctx context.Context, name string, rules []rbacv1.PolicyRule) error {
	roles := t.client.RbacV1().ClusterRoles()
	role, err := roles.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	role.Rules = rules
	_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	return err
}

// agentPod is the name of a node's agent.
func (t trial) agentPod(ctx context.Context, node string) (string, error) {
	list, err := t.client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=sluice", FieldSelector: "spec.nodeName=" + node,
	})
	if err != nil {
		return "", err
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			return pod.Name, nil
		}
	}
	return "", fmt.Errorf("node %s has no agent", node)
}

func (t trial) agentLog(ctx context.Context, node string) (string, error) {
	name, err := t.agentPod(ctx, node)
	if err != nil {
		return "", err
	}
	return t.sluice(ctx, "logs", name)
}

// restartAgent replaces a node's agent, and returns what the new one says when it answers.
func (t trial) restartAgent(ctx context.Context, node string) (api.Status, error) {
	before, err := t.agent(node).Status(ctx)
	if err != nil {
		return before, err
	}
	name, err := t.agentPod(ctx, node)
	if err != nil {
		return before, err
	}
	if _, err := t.sluice(ctx, "delete", "pod", name); err != nil {
		return before, err
	}
	var after api.Status
	err = await(ctx, "another agent on "+node, time.Minute, func(ctx context.Context) (err error) {
		after, err = t.agent(node).Status(ctx)
		if err == nil && after.Started.Equal(before.Started) {
			err = errors.New("it is the one before")
		}
		return err
	})
	return after, err
}
