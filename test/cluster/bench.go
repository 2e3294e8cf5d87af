package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// contender is a CNI that the same cluster's nodes are given, one after the other.
type contender struct {
	name string
	// conf is its network configuration on the node of that number; empty is Sluice's,
	// as it is installed.
	conf func(node int) string
}

// contenders take turns. The peers have what they need to be used without an agent.
var contenders = []contender{
	{"sluice", nil},
	{"bridge", func(node int) string {
		return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bench", "plugins": [{"type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
			"ipam": {"type": "host-local", "subnet": "10.245.%d.0/24"}}]}`, node)
	}},
	{"ptp", func(node int) string {
		return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bench", "plugins": [{"type": "ptp",
			"ipam": {"type": "host-local", "subnet": "10.246.%d.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}`, node)
	}},
}

// batch is how many pods are created at once, and how often.
type batch struct{ pods, times int }

// figure is what one contender took for one size of batch.
type figure struct {
	CNI  string `json:"cni"`
	Pods int    `json:"pods"`
	// Running and Ready are seconds from the creation of a pod's object until its
	// status said so: the median and the 99th percentile of all pods.
	Running quantiles `json:"running"`
	Ready   quantiles `json:"ready"`
}

func benchCommand(p *place) *cobra.Command {
	var o options
	var out string
	batches := []batch{{1, 10}, {20, 3}, {100, 1}}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure pods from creation to Ready, beside the bridge and ptp plugins on the same nodes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			figures, err := p.bench(cmd.Context(), batches)
			if err != nil {
				return err
			}
			printFigures(figures)
			return writeFigures(out, figures)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write the figures to, as JSON")
	return cmd
}

// bench measures all contenders, each batch of one before the next batch.
func (p place) bench(ctx context.Context, batches []batch) ([]figure, error) {
	c, err := openCache()
	if err != nil {
		return nil, err
	}
	if err := c.fill(ctx, []program{c.plugin("main/bridge"), c.plugin("main/ptp")}); err != nil {
		return nil, err
	}
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	t := trial{place: p, cache: c, client: client}
	if _, err := t.kubectl(ctx, c, []byte(benchNamespace), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	var figures []figure
	for _, b := range batches {
		for _, peer := range contenders {
			if err := t.use(ctx, peer); err != nil {
				return nil, fmt.Errorf("use %s: %w", peer.name, err)
			}
			f, err := t.measure(ctx, peer.name, b)
			if err := errors.Join(err, t.stopUsing(ctx, peer)); err != nil {
				return nil, fmt.Errorf("%d pods with %s: %w", b.pods, peer.name, err)
			}
			progress("  %d pods, %s: Running %.2f s, Ready %.2f s (median)", b.pods, peer.name, f.Running.P50, f.Ready.P50)
			figures = append(figures, f)
		}
	}
	return figures, t.client.CoreV1().Namespaces().Delete(ctx, benchName, metav1.DeleteOptions{})
}

const (
	benchName      = "bench"
	benchNamespace = `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + benchName + `"}}`
	// peerConf comes before Sluice's in the order of names: the runtime takes the first.
	peerConf = "/etc/cni/net.d/00-bench.conflist"
)

// use makes the contender the nodes' CNI. Beside a peer no agent runs, which would
// watch the peer's pods come and go.
func (t trial) use(ctx context.Context, peer contender) error {
	if peer.conf == nil {
		return nil
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for i, n := range listing.Nodes {
		for _, plugin := range []string{"bridge", "ptp"} {
			if _, err := t.run(ctx, n.Name, "cp", filepath.Join(t.pluginsDir(), plugin), "/opt/cni/bin/"); err != nil {
				return err
			}
		}
		if _, err := t.run(ctx, n.Name, "sh", "-c", "echo '"+peer.conf(i)+"' >"+peerConf); err != nil {
			return err
		}
	}
	return t.stopAgents(ctx)
}

func (t trial) stopUsing(ctx context.Context, peer contender) error {
	if peer.conf == nil {
		return nil
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		if _, err := t.run(ctx, n.Name, "sh", "-c", "rm -f "+peerConf+"; ip link delete cni0 2>/dev/null; true"); err != nil {
			return err
		}
	}
	return t.startAgents(ctx)
}

// measure runs a batch as often as it says.
func (t trial) measure(ctx context.Context, name string, b batch) (figure, error) {
	var running, ready []float64
	for round := range b.times {
		times, err := t.round(ctx, fmt.Sprintf("%s-%d-%d", name, b.pods, round), b.pods)
		if err != nil {
			return figure{}, err
		}
		for _, pod := range times {
			running, ready = append(running, pod.running.Seconds()), append(ready, pod.ready.Seconds())
		}
	}
	return figure{name, b.pods, newQuantiles(running), newQuantiles(ready)}, nil
}

// writeFigures writes a file for programs.
func writeFigures(file string, figures []figure) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// createAll creates pods, several at once.
func createAll(ctx context.Context, count int, create func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(10)
	for i := range count {
		g.Go(func() error { return create(ctx, i) })
	}
	return g.Wait()
}
