package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// apply applies the manifest as a user does: with the API server's address filled in.
func (p place) apply(ctx context.Context, c cache, manifest string, plane controlPlane) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	edited, err := configure(text, map[string]any{
		"api-server-host": plane.address.String(), "api-server-port": fmt.Sprint(apiPort), "cluster-cidr": clusterCIDR, "service-cidr": serviceCIDR,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	_, err = p.kubectl(ctx, c, edited, "apply", "-f", "-")
	return err
}

// install installs Sluice, and returns when the nodes are Ready.
func (p place) install(ctx context.Context, c cache, manifest string, plane controlPlane, nodes int) error {
	if err := p.apply(ctx, c, manifest, plane); err != nil {
		return err
	}
	if err := p.nodesReady(ctx, nodes, 2*time.Minute); err != nil {
		out, _ := p.kubectl(ctx, c, nil, "-n", "kube-system", "get", "pods", "-o", "wide")
		logs, _ := p.kubectl(ctx, c, nil, "-n", "kube-system", "logs", "ds/sluice", "--tail=20")
		return fmt.Errorf("%w\n%s%s", err, out, logs)
	}
	_, err := p.kubectl(ctx, c, nil, "-n", "kube-system", "rollout", "status", "ds/sluice", "--timeout=60s")
	return err
}

// configure sets data of the manifest's ConfigMap.
func configure(manifest []byte, data map[string]any) ([]byte, error) {
	documents := bytes.Split(manifest, []byte("\n---\n"))
	found := false
	for i, document := range documents {
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, err
		}
		if object["kind"] != "ConfigMap" {
			continue
		}
		found = true
		have, _ := object["data"].(map[string]any)
		for key, value := range data {
			have[key] = value
		}
		var err error
		if documents[i], err = yaml.Marshal(object); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, fmt.Errorf("there is no ConfigMap")
	}
	return bytes.Join(documents, []byte("\n---\n")), nil
}

// kubectl runs it as the administrator, and returns what it wrote.
func (p place) kubectl(ctx context.Context, c cache, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubernetes("kubectl"), append([]string{"--kubeconfig", p.kubeconfig()}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}
