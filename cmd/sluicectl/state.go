package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
)

func stateCommand(client func() *api.Client) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "state",
		Short: "What the agent takes as its input, as YAML that render -f reads",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := runningState(cmd.Context(), client())
			if err != nil {
				return err
			}
			switch output {
			case "", "yaml":
				return printState(cmd.OutOrStdout(), s)
			case "json":
				return printJSON(cmd.OutOrStdout(), s)
			}
			return badOutput(output, "yaml or json")
		},
	}
	outputFlag(cmd, &output, "yaml, json")
	return cmd
}

// runningState is the state that is in force on the agent's node.
func runningState(ctx context.Context, client *api.Client) (state.State, error) {
	s, err := client.State(ctx)
	if err == nil && s.Node == "" {
		err = errors.New("the agent has no state yet: see `sluicectl status`")
	}
	return s, err
}

func printState(w io.Writer, s state.State) error {
	objects := source.Manifests(source.ObjectsOf(s))
	objects = append(objects, manifests.NodeState{
		TypeMeta:    metav1.TypeMeta{APIVersion: manifests.NodeStateAPIVersion, Kind: manifests.NodeStateKind},
		ObjectMeta:  metav1.ObjectMeta{Name: s.Node},
		Attachments: s.Attachments, Facts: s.Facts, Config: s.Config,
	})
	for _, o := range objects {
		text, err := marshal(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "---\n%s", text)
	}
	return nil
}

// marshal is an object's YAML without the zero values that Kubernetes' types write.
func marshal(o any) ([]byte, error) {
	text, err := yaml.Marshal(o)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	prune(fields)
	return yaml.Marshal(fields)
}

// prune takes zero values out, and what is empty without them; it tells whether
// anything is left.
func prune(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, field := range v {
			if !prune(field) {
				delete(v, key)
			}
		}
		return len(v) > 0
	case []any:
		for _, item := range v {
			prune(item) // an item keeps its place
		}
		return len(v) > 0
	case string:
		return v != ""
	case float64:
		return v != 0
	case bool:
		return true // where false is the same as nothing, Kubernetes' types do not write it
	default:
		return v != nil
	}
}
