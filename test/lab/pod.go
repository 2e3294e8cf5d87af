package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const (
	// networkName and pluginType are what the lab's CNI configuration says.
	networkName = "sluice"
	pluginType  = "sluice"
	// podInterface is the device that a runtime asks for.
	podInterface = "eth0"

	// retryPause is how long the lab waits before it runs ADD again where the
	// plugin has said "try again later", as a kubelet does.
	retryPause = 100 * time.Millisecond
)

// runPod makes the pod's sandbox, plugs it in and starts its server. pod is
// changed to tell what is there. Whatever is left of an earlier attempt goes
// first.
func (h host) runPod(ctx context.Context, pod *podState, uid string) error {
	err := h.stopPod(ctx, *pod)
	if err == nil && !pod.HostNetwork {
		err = h.plugIn(ctx, pod, uid)
	}
	if err == nil {
		err = h.startServer(ctx, *pod)
	}
	if err != nil {
		return fmt.Errorf("pod %s on node %s: %w", *pod, h.name, err)
	}
	pod.Running = true
	return nil
}

// stopPod undoes runPod, or what was done of it.
func (h host) stopPod(ctx context.Context, pod podState) error {
	if err := h.serverProcess(pod).end(ctx, unix.SIGKILL); err != nil {
		return fmt.Errorf("stop the server of pod %s: %w", pod, err)
	}
	if pod.HostNetwork {
		return nil
	}
	if exists, err := netns.Exists(pod.Netns); err != nil {
		return err
	} else if !exists && !pod.Running {
		return nil // it never got as far as ADD
	}
	if err := h.cni(ctx, pod, "", (*libcni.CNIConfig).DelNetworkList); err != nil {
		return fmt.Errorf("CNI DEL of pod %s on node %s: %w", pod, h.name, err)
	}
	return deleteNetns(pod.Netns)
}

func (h host) plugIn(ctx context.Context, pod *podState, uid string) error {
	if err := createNetns(pod.Netns); err != nil {
		return err
	}
	for {
		var result types.Result
		err := h.cni(ctx, *pod, uid, func(c *libcni.CNIConfig, ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (err error) {
			result, err = c.AddNetworkList(ctx, list, rt)
			return err
		})
		if err == nil {
			pod.Addresses, err = resultAddresses(result)
			return err
		}
		// Code 11 is "try again later" (CNI specification 1.1, section "Error").
		// An agent that was killed on purpose will not come back by itself.
		again := new(types.Error)
		if !errors.As(err, &again) || again.Code != types.ErrTryAgainLater || h.killed(Agent) {
			return fmt.Errorf("CNI ADD: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("CNI ADD: %w (%w)", err, context.Cause(ctx))
		case <-time.After(retryPause):
		}
	}
}

// killed tells whether the daemon was killed on purpose.
func (h host) killed(d Daemon) bool { return h.state.node(h.name).isKilled(d) }

type cniVerb func(*libcni.CNIConfig, context.Context, *libcni.NetworkConfigList, *libcni.RuntimeConf) error

// cni runs a verb for a pod as a container runtime on the node would: through
// libcni, from the node's own network namespace, with the node's configuration
// directory and plugins.
func (h host) cni(ctx context.Context, pod podState, uid string, verb cniVerb) error {
	files, err := libcni.ConfFiles(h.cniConfDir(), []string{".conflist"})
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no *.conflist in %s", h.cniConfDir())
	}
	list, err := libcni.NetworkConfFromFile(files[0]) // in the order of names, the first counts
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{
		ContainerID: pod.ContainerID,
		NetNS:       pod.Netns,
		IfName:      podInterface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", pod.Namespace},
			{"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.ContainerID},
		},
	}
	if len(pod.HostPorts) > 0 {
		rt.CapabilityArgs = map[string]any{"portMappings": pod.HostPorts}
	}
	if uid != "" {
		rt.Args = append(rt.Args, [2]string{"K8S_POD_UID", uid})
	}
	plugins := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}}
	config := libcni.NewCNIConfigWithCacheDir([]string{h.cniBinDir()}, h.cniCacheDir(), plugins)
	// The plugin's process is forked from this very thread.
	return netns.Do(h.netns(), func() error { return verb(config, ctx, list, rt) })
}

func resultAddresses(result types.Result) ([]netip.Addr, error) {
	current, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("result of CNI ADD: %w", err)
	}
	var addresses []netip.Addr
	for _, ip := range current.IPs {
		address, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			return nil, fmt.Errorf("result of CNI ADD: %v is no address", ip.Address)
		}
		addresses = append(addresses, address.Unmap())
	}
	if len(addresses) == 0 {
		return nil, errors.New("result of CNI ADD: it has no address")
	}
	return addresses, nil
}

// serverProcess is what stands for the pod's containers: it listens on the
// declared ports and answers with the pod's name.
func (h host) serverProcess(pod podState) process {
	file := filepath.Join(h.podsDir(), shorten(pod.Namespace+"."+pod.Name, maxFileName-len(".pid")))
	argv := []string{filepath.Join(h.state.BinDir, labExecutable), "serve", "--ready-fd", "3", "--answer", pod.String()}
	return process{file: file, log: filepath.Join(h.podsDir(), "log"), netns: pod.Netns, argv: append(argv, listenArgs(pod.Ports)...), ready: true}
}

func listenArgs(ports []Port) []string {
	var args []string
	for _, port := range ports {
		if port.Protocol != "SCTP" || HasSCTP() {
			args = append(args, "--listen", strings.ToLower(port.Protocol)+":"+strconv.Itoa(port.Port))
		}
	}
	return args
}

// startServer starts the pod's server, if it has anything to listen on.
func (h host) startServer(ctx context.Context, pod podState) error {
	server := h.serverProcess(pod)
	if len(listenArgs(pod.Ports)) == 0 {
		return nil
	}
	return server.start(ctx)
}
