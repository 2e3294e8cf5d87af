// Package watched is a lab's node whose agent watches an API server of this process's: for benchmarks
// of what an agent does about a cluster whose pods elsewhere are objects only.
package watched

import (
	"bytes"
	"context"
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

// Node is the lab's only one. Its methods are for one caller.
type Node struct {
	At lab.NodeListing
	// Log is the agent's.
	Log bytes.Buffer
	// Sandboxes are the pods' namespaces, by the pods' names.
	Sandboxes map[string]string

	name   string
	lab    *lab.Lab
	dir    string
	server *http.Server
	argv   []string
	agent  *exec.Cmd
	cni    *libcni.CNIConfig
	list   *libcni.NetworkConfigList
}

// NodeName is the node's.
const NodeName = "n1"

func (n *Node) netnsPrefix() string { return "sluice-" + n.name + "." }

// Start starts a lab, and in it the agent anew; name, of few letters, tells benchmarks apart. What it could not
// finish Stop undoes.
func Start(ctx context.Context, name, binDir string, handler http.Handler) (n *Node, err error) {
	n = &Node{Sandboxes: map[string]string{}, name: fmt.Sprintf("bench%s-%d", name, os.Getpid())}
	if n.dir, err = os.MkdirTemp("", "sluice-"+n.name+"-"); err != nil {
		return n, err
	}
	if n.lab, err = lab.Up(ctx, lab.Options{Name: n.name, Nodes: 1, Objects: []lab.Object{}, BinDir: binDir}); err != nil {
		return n, err
	}
	listing, err := n.lab.List()
	if err != nil {
		return n, err
	}
	n.At, _ = listing.Node(NodeName)
	if err := n.prepareCNI(); err != nil {
		return n, err
	}
	if err := n.serve(handler); err != nil {
		return n, err
	}
	if err := n.lab.Kill(ctx, NodeName, lab.Agent); err != nil {
		return n, err
	}
	return n, n.StartAgent(ctx)
}

func (n *Node) prepareCNI() error {
	files, err := libcni.ConfFiles(n.At.CNIConfDir, []string{".conflist"})
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no *.conflist in %s: %w", n.At.CNIConfDir, err)
	}
	if n.list, err = libcni.NetworkConfFromFile(files[0]); err != nil {
		return err
	}
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{n.At.CNIBinDir}, filepath.Join(n.dir, "cache"), nil)
	return nil
}

// serve starts the API server, and finds out how to start an agent that watches it.
func (n *Node) serve(handler http.Handler) error {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.At.PIDs.Agent))
	if err != nil {
		return err
	}
	n.argv = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	i := slices.Index(n.argv, "--manifests")
	if i < 0 {
		return fmt.Errorf("the lab's agent has no --manifests: %q", n.argv)
	}
	var listener net.Listener
	if err := netns.Do(n.At.Netns, func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		return err
	}
	n.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = n.server.Serve(listener) }()
	kubeconfig := filepath.Join(n.dir, "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://%s'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n", listener.Addr())
	n.argv[i], n.argv[i+1] = "--kubeconfig", kubeconfig
	return os.WriteFile(kubeconfig, []byte(text), 0o600)
}

// StartAgent starts an agent where there is none, and returns when it has its input in force.
func (n *Node) StartAgent(ctx context.Context) error {
	cmd := exec.Command(n.argv[0], n.argv[1:]...)
	cmd.Stderr = &n.Log
	if err := netns.Do(n.At.Netns, cmd.Start); err != nil {
		return err
	}
	n.agent = cmd
	return n.Await(ctx, func(s api.Status) bool { return s.Ready && s.Input.Seen == s.Input.Installed })
}

// StopAgent ends the agent, if there is one.
func (n *Node) StopAgent() error {
	if n.agent == nil {
		return nil
	}
	err := n.agent.Process.Signal(syscall.SIGTERM)
	_ = n.agent.Wait()
	n.agent = nil
	return err
}

// AgentMB is how many MB the agent holds.
func (n *Node) AgentMB() float64 { return resident(n.agent.Process.Pid) }

// VswitchdMB is how many MB ovs-vswitchd holds.
func (n *Node) VswitchdMB() float64 { return resident(n.At.PIDs.Vswitchd) }

// Await waits until the agent's status is as wanted.
func (n *Node) Await(ctx context.Context, ok func(api.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		s, err := api.NewClient(n.At.AgentSocket).Status(ctx)
		if err == nil && ok(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent does not come to have its input in force: %w, %+v\n%s", errors.Join(ctx.Err(), err), s.Input, n.Log.Bytes()[max(0, n.Log.Len()-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop takes all away.
func (n *Node) Stop(ctx context.Context) error {
	errs := []error{n.StopAgent()}
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	errs = append(errs, lab.Down(ctx, n.name, io.Discard))
	names, err := netns.Names(n.netnsPrefix())
	errs = append(errs, err, os.RemoveAll(n.dir))
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	return errors.Join(errs...)
}

func (n *Node) runtimeConf(namespace, pod, sandbox string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: pod, NetNS: sandbox, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", pod}, {"K8S_POD_INFRA_CONTAINER_ID", pod}},
	}
}

// Add plugs a pod in, and tells how long that took.
func (n *Node) Add(ctx context.Context, namespace, pod string) (address netip.Addr, took time.Duration, err error) {
	sandbox, ok := n.Sandboxes[pod]
	if !ok {
		if sandbox, err = netns.Create(n.netnsPrefix() + pod); err != nil {
			return address, 0, err
		}
		n.Sandboxes[pod] = sandbox
	}
	err = netns.Do(n.At.Netns, func() error {
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

// Del unplugs a pod.
func (n *Node) Del(ctx context.Context, namespace, pod string) error {
	return netns.Do(n.At.Netns, func() error {
		return n.cni.DelNetworkList(ctx, n.list, n.runtimeConf(namespace, pod, n.Sandboxes[pod]))
	})
}

// Appctl asks ovs-vswitchd.
func (n *Node) Appctl(ctx context.Context, method string, args ...string) (string, error) {
	return appctl.Client{RunDir: n.At.OVSRunDir}.Call(ctx, method, args...)
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

// Profile writes a CPU profile of the agent.
func (n *Node) Profile(ctx context.Context, file string, lasting time.Duration) error {
	var profile bytes.Buffer
	if err := api.NewClient(n.At.AgentSocket).Profile(ctx, int(lasting.Seconds()), &profile); err != nil {
		return err
	}
	return os.WriteFile(file, profile.Bytes(), 0o644)
}
