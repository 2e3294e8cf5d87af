package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/appctl"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// node is the lab's only one, with an agent that watches the API server.
type node struct {
	lab    *lab.Lab
	at     lab.NodeListing
	dir    string
	server *http.Server
	agent  *exec.Cmd
	log    bytes.Buffer
	cni    *libcni.CNIConfig
	list   *libcni.NetworkConfigList
	// sandboxes are the pods' namespaces, by the pods' names.
	sandboxes map[string]string
}

const nodeName = "n1"

func netnsPrefix() string { return fmt.Sprintf("sluice-bench-policy-%d.", os.Getpid()) }

func labName() string { return fmt.Sprintf("benchpol-%d", os.Getpid()) }

// startNode starts a lab, and in it the agent anew. What it could not finish stop undoes.
func startNode(ctx context.Context, binDir string, handler http.Handler) (n *node, err error) {
	n = &node{sandboxes: map[string]string{}}
	if n.dir, err = os.MkdirTemp("", "sluice-bench-policy-"); err != nil {
		return n, err
	}
	if n.lab, err = lab.Up(ctx, lab.Options{Name: labName(), Nodes: 1, Objects: []lab.Object{}, BinDir: binDir}); err != nil {
		return n, err
	}
	listing, err := n.lab.List()
	if err != nil {
		return n, err
	}
	n.at, _ = listing.Node(nodeName)
	if err := n.prepareCNI(); err != nil {
		return n, err
	}
	return n, n.startAgent(ctx, handler)
}

func (n *node) prepareCNI() error {
	files, err := libcni.ConfFiles(n.at.CNIConfDir, []string{".conflist"})
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no *.conflist in %s: %w", n.at.CNIConfDir, err)
	}
	if n.list, err = libcni.NetworkConfFromFile(files[0]); err != nil {
		return err
	}
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{n.at.CNIBinDir}, filepath.Join(n.dir, "cache"), nil)
	return nil
}

// startAgent starts the lab's agent with an API server instead of its manifests.
func (n *node) startAgent(ctx context.Context, handler http.Handler) error {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.at.PIDs.Agent))
	if err != nil {
		return err
	}
	argv := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	i := slices.Index(argv, "--manifests")
	if i < 0 {
		return fmt.Errorf("the lab's agent has no --manifests: %q", argv)
	}
	var listener net.Listener
	if err := netns.Do(n.at.Netns, func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		return err
	}
	n.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = n.server.Serve(listener) }()
	kubeconfig := filepath.Join(n.dir, "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://%s'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n", listener.Addr())
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		return err
	}
	argv[i], argv[i+1] = "--kubeconfig", kubeconfig
	if err := n.lab.Kill(ctx, nodeName, lab.Agent); err != nil {
		return err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &n.log
	if err := netns.Do(n.at.Netns, cmd.Start); err != nil {
		return err
	}
	n.agent = cmd
	return n.await(ctx, func(s api.Status) bool { return s.Ready && s.Input.Seen == s.Input.Installed })
}

// await waits until the agent's status is as wanted.
func (n *node) await(ctx context.Context, ok func(api.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		s, err := api.NewClient(n.at.AgentSocket).Status(ctx)
		if err == nil && ok(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent does not come to have its input in force: %w, %+v\n%s", errors.Join(ctx.Err(), err), s.Input, n.log.Bytes()[max(0, n.log.Len()-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop takes all away.
func (n *node) stop(ctx context.Context) error {
	var errs []error
	if n.agent != nil {
		errs = append(errs, n.agent.Process.Signal(syscall.SIGTERM))
		_ = n.agent.Wait()
	}
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	errs = append(errs, lab.Down(ctx, labName(), io.Discard))
	names, err := netns.Names(netnsPrefix())
	errs = append(errs, err, os.RemoveAll(n.dir))
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	return errors.Join(errs...)
}

func (n *node) runtimeConf(namespace, pod, sandbox string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: pod, NetNS: sandbox, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", pod}, {"K8S_POD_INFRA_CONTAINER_ID", pod}},
	}
}

// add plugs a pod in, and tells how long that took.
func (n *node) add(ctx context.Context, namespace, pod string) (address netip.Addr, took time.Duration, err error) {
	sandbox, ok := n.sandboxes[pod]
	if !ok {
		if sandbox, err = netns.Create(netnsPrefix() + pod); err != nil {
			return address, 0, err
		}
		n.sandboxes[pod] = sandbox
	}
	err = netns.Do(n.at.Netns, func() error {
		began := time.Now()
		result, err := n.cni.AddNetworkList(ctx, n.list, n.runtimeConf(namespace, pod, sandbox))
		took = time.Since(began)
		if err != nil {
			return err
		}
		told, err := types100.NewResultFromResult(result)
		if err == nil && len(told.IPs) > 0 {
			address, _ = netip.AddrFromSlice(told.IPs[0].Address.IP.To4())
		}
		return err
	})
	return address, took, err
}

func (n *node) del(ctx context.Context, namespace, pod string) error {
	return netns.Do(n.at.Netns, func() error {
		return n.cni.DelNetworkList(ctx, n.list, n.runtimeConf(namespace, pod, n.sandboxes[pod]))
	})
}

// appctl asks ovs-vswitchd.
func (n *node) appctl(ctx context.Context, method string, args ...string) (string, error) {
	return appctl.Client{RunDir: n.at.OVSRunDir}.Call(ctx, method, args...)
}

// resident is how many MB a process holds.
func resident(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f", &kb); err == nil {
			return kb / 1024
		}
	}
	return 0
}

// profile writes a CPU profile of the agent.
func (n *node) profile(ctx context.Context, file string, lasting time.Duration) error {
	var profile bytes.Buffer
	if err := api.NewClient(n.at.AgentSocket).Profile(ctx, int(lasting.Seconds()), &profile); err != nil {
		return err
	}
	return os.WriteFile(file, profile.Bytes(), 0o644)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
