package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/lab"
)

// node is a machine of the lab that becomes a node of the cluster.
type node struct {
	place
	cache
	lab.NodeListing
	// proxied nodes run kube-proxy.
	proxied bool
}

// boot starts the node's first process, and with it containerd and kubelet.
func (n node) boot() error {
	dir := n.nodeDir(n.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := makeCgroup(n.cgroup(n.Name)); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"containerd.toml": containerdConfig,
		"kubelet.yaml":    fmt.Sprintf(kubeletConfig, filepath.Join(n.pkiDir(), "ca.crt"), n.cgroup(n.Name)),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	m := machine{
		Name: n.Name, Dir: dir,
		Run: map[string]string{"openvswitch": n.OVSRunDir, strings.TrimPrefix(n.dir(), "/run/"): n.dir()},
		Services: []service{
			{
				Name: "containerd", Argv: []string{n.containerd("containerd"), "--config", filepath.Join(dir, "containerd.toml")},
				Env: []string{"PATH=" + n.containerdDir() + ":/usr/sbin:/usr/bin:/sbin:/bin"},
			},
			{Name: "kubelet", Argv: []string{
				n.kubernetes("kubelet"), "--config", filepath.Join(dir, "kubelet.yaml"),
				"--kubeconfig", n.kubeconfigOf(nodeUser(n.Name).file), "--hostname-override", n.Name, "--node-ip", n.Addresses[0].String(),
			}},
		},
	}
	if n.proxied {
		proxy, err := n.kubeProxy()
		if err != nil {
			return err
		}
		m.Services = append(m.Services, proxy)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "machine.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return n.start(process{
		name: n.Name, argv: []string{self, "machine", file}, netns: n.Netns,
		cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
	})
}

// containerdConfig leaves all paths as they are by default: the node has its own.
const containerdConfig = `version = 3

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + pauseImage + `'

[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  # In a namespace of processes nothing may be made less likely to be killed than its parent.
  restrict_oom_score_adj = true
`

// kubeletConfig takes the file of the authority's certificate and the control group.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  x509: {clientCAFile: %s}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: %s
clusterDNS: [` + dnsService + `]
clusterDomain: ` + clusterDomain + `
# Pods know of no other servers and domains, whatever this machine's are.
resolvConf: ""
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
# The nodes share this machine's disk and memory, which may be nearly full.
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%"}
imageGCHighThresholdPercent: 100
maxPods: 250
`

// enter is the command line that runs args on a node.
func (p place) enter(node string, args ...string) ([]string, error) {
	pid := p.pid(node)
	if pid == 0 {
		return nil, fmt.Errorf("node %s does not run: %s", node, p.logTail(node))
	}
	return append([]string{"nsenter", "--target", fmt.Sprint(pid), "--mount", "--net", "--uts", "--pid", "--"}, args...), nil
}

// run runs a program on a node and returns what it wrote.
func (p place) run(ctx context.Context, node string, args ...string) (string, error) {
	argv, err := p.enter(node, args...)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("on node %s: %s: %w: %s", node, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// importImages gives the node's containerd all images.
func (n node) importImages(ctx context.Context, archives []string) error {
	ctr := []string{n.containerd("ctr"), "--namespace", "k8s.io"}
	err := await(ctx, "containerd of "+n.Name, 30*time.Second, func(ctx context.Context) error {
		if _, err := n.run(ctx, n.Name, append(ctr, "version")...); err != nil {
			return fmt.Errorf("%w; see %s", err, filepath.Join(n.nodeDir(n.Name), "containerd.log"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if _, err := n.run(ctx, n.Name, append(ctr, "images", "import", "--local", archive)...); err != nil {
			return err
		}
	}
	return nil
}
