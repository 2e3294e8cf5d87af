package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/test/lab"
)

// options say what cluster to start.
type options struct {
	nodes int
	// bin holds the executables that make built; root is the checkout.
	bin, root string
	// bare starts the cluster without installing Sluice.
	bare bool
	// kubeProxy runs kube-proxy on each node.
	kubeProxy bool
	// noPodCIDRs lets nobody give nodes their podCIDRs, so that they do not become Ready.
	noPodCIDRs bool
}

// stopwatch tells how long each phase took.
type stopwatch struct {
	began time.Time
	lines []string
}

func (s *stopwatch) phase(name string, do func() error) error {
	began := time.Now()
	if s.began.IsZero() {
		s.began = began
	}
	progress("%s ...", name)
	err := do()
	s.lines = append(s.lines, fmt.Sprintf("%-46s %6.1f s", name, time.Since(began).Seconds()))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// phase is a part of something long.
type phase struct {
	name string
	do   func(context.Context) error
}

// inTurn goes through the phases until one fails, and prints how long each took.
func inTurn(ctx context.Context, phases []phase) error {
	var watch stopwatch
	for _, p := range phases {
		if err := watch.phase(p.name, func() error { return p.do(ctx) }); err != nil {
			return err
		}
	}
	progress("\n%s\n", &watch)
	return nil
}

func (s *stopwatch) String() string {
	return strings.Join(append(s.lines, fmt.Sprintf("%-46s %6.1f s", "all", time.Since(s.began).Seconds())), "\n")
}

// up starts the cluster, and returns when its nodes are Ready. What a failed one left
// is there to be looked at until `down`.
func (p place) up(ctx context.Context, o options) error {
	if _, err := os.Stat(p.dir()); err == nil {
		return fmt.Errorf("cluster %q is up, or was left half-way: run `sluice-cluster down --name %s` first", p.name, p.name)
	}
	c, err := openCache()
	if err != nil {
		return err
	}
	var watch stopwatch
	if err := watch.phase("programs from Go modules", func() error { return c.fill(ctx, c.programs(o)) }); err != nil {
		return err
	}
	for _, dir := range []string{p.dir(), p.imagesDir(), p.etcdDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var archives []string
	err = watch.phase("images", func() (err error) {
		archives, err = p.writeImages(ctx, c, o.bin)
		return err
	})
	if err != nil {
		return err
	}
	var listing *lab.Listing
	err = watch.phase("machines with Open vSwitch, and the underlay", func() (err error) {
		listing, err = p.machines(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	plane := controlPlane{p, c, listing.Outside.Netns, listing.Outside.Addresses[0], o.noPodCIDRs}
	var nodes []node
	var names []string
	for _, n := range listing.Nodes {
		nodes = append(nodes, node{p, c, n, o.kubeProxy})
		names = append(names, n.Name)
	}
	err = watch.phase("control plane", func() error {
		a, err := newAuthority(p.pkiDir())
		if err != nil {
			return err
		}
		return plane.start(ctx, a, names)
	})
	if err != nil {
		return err
	}
	err = watch.phase("nodes registered, images imported", func() error {
		return p.bootAll(ctx, nodes, archives)
	})
	if err != nil {
		return err
	}
	manifest := filepath.Join(o.root, "build/manifests/sluice.yaml")
	switch {
	case o.bare:
	case o.noPodCIDRs:
		err = watch.phase("Sluice installed", func() error { return p.apply(ctx, c, manifest, plane) })
	default:
		err = watch.phase("Sluice installed, nodes Ready", func() error {
			return p.install(ctx, c, manifest, plane, len(nodes))
		})
	}
	if err != nil {
		return err
	}
	if !o.bare && !o.noPodCIDRs {
		if err := watch.phase("CoreDNS answers", func() error { return p.installDNS(ctx, c) }); err != nil {
			return err
		}
	}
	progress("\n%s\n", &watch)
	return nil
}

// writeImages makes the archives of all images.
func (p place) writeImages(ctx context.Context, c cache, bin string) ([]string, error) {
	all, err := images(ctx, c, bin)
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, i := range all {
		file := filepath.Join(p.imagesDir(), strings.NewReplacer("/", "_", ":", "_").Replace(i.name)+".tar")
		if err := i.write(file); err != nil {
			return nil, err
		}
		archives = append(archives, file)
	}
	return archives, nil
}

// machines makes a lab of machines that are no nodes yet.
func (p place) machines(ctx context.Context, o options) (*lab.Listing, error) {
	l, err := lab.Up(ctx, lab.Options{Name: p.lab(), Nodes: o.nodes, NoAgents: true, BinDir: o.bin})
	if err != nil {
		return nil, err
	}
	return l.List()
}

// bootAll boots all nodes at once.
func (p place) bootAll(ctx context.Context, nodes []node, archives []string) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error {
			if err := n.boot(); err != nil {
				return err
			}
			if err := n.importImages(ctx, archives); err != nil {
				return err
			}
			return await(ctx, "kubelet of "+n.Name, time.Minute, func(ctx context.Context) error {
				if _, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{}); err != nil {
					return fmt.Errorf("%w; see %s", err, filepath.Join(n.nodeDir(n.Name), "kubelet.log"))
				}
				return nil
			})
		})
	}
	return g.Wait()
}

// nodesReady returns when that many nodes are Ready.
func (p place) nodesReady(ctx context.Context, count int, bound time.Duration) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	return await(ctx, "nodes", bound, func(ctx context.Context) error {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		var errs []error
		for _, n := range list.Items {
			for _, c := range n.Status.Conditions {
				if c.Type != corev1.NodeReady {
					continue
				}
				if c.Status == corev1.ConditionTrue {
					ready++
				} else {
					errs = append(errs, fmt.Errorf("node %s is not Ready: %s", n.Name, c.Message))
				}
			}
		}
		if ready < count {
			return errors.Join(append(errs, fmt.Errorf("%d of %d nodes are Ready", ready, count))...)
		}
		return nil
	})
}

// down removes all that is the cluster's, however it came to be there. A cluster that
// is not there is no error.
func (p place) down(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // once begun it is carried through
	if err := p.endAll(ctx); err != nil {
		return err
	}
	err := errors.Join(removeCgroups(p.cgroup("")), lab.Down(ctx, p.lab(), os.Stderr))
	if err != nil {
		return err // the directory stays, to be tried again with
	}
	return p.removeDir()
}

// await tries until it succeeds; the error says what was waited for and why it was not there.
func await(ctx context.Context, what string, bound time.Duration, try func(context.Context) error) error {
	began := time.Now()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Since(began) > bound {
			return fmt.Errorf("waited %s for %s: %w", time.Since(began).Round(time.Second), what, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
