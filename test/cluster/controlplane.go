package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// What the cluster's addresses are, beside those of the lab's underlay.
const (
	clusterCIDR = "10.244.0.0/16"
	serviceCIDR = "10.96.0.0/16"
	apiPort     = 6443
	// apiService is the ClusterIP of the Service kubernetes.default: the first of its range.
	apiService = "10.96.0.1"
	// dnsService is that of CoreDNS, by convention the tenth.
	dnsService    = "10.96.0.10"
	clusterDomain = "cluster.local"
)

// controlPlane runs in a network namespace of the underlay.
type controlPlane struct {
	place
	cache
	netns   string
	address netip.Addr
	// noPodCIDRs leaves it to others to give nodes their podCIDRs.
	noPodCIDRs bool
}

func (c controlPlane) server() string { return fmt.Sprintf("https://%s:%d", c.address, apiPort) }

// start returns when the API server serves. The kubeconfig at place.kubeconfig works
// from then on.
func (c controlPlane) start(ctx context.Context, a *authority, nodes []string) error {
	hosts := []string{c.address.String(), "127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain, apiService}
	if err := a.issue("apiserver", "kube-apiserver", []string{"system:masters"}, hosts); err != nil {
		return err
	}
	users := []user{controllerManager, scheduler, kubeProxyUser}
	for _, node := range nodes {
		users = append(users, nodeUser(node))
	}
	for _, u := range users {
		if err := c.writeKubeconfig(a, u, c.kubeconfigOf(u.file), c.server()); err != nil {
			return err
		}
	}
	port, err := c.forward(ctx)
	if err != nil {
		return err
	}
	if err := c.writeKubeconfig(a, admin, c.kubeconfig(), "https://127.0.0.1:"+port); err != nil {
		return err
	}
	etcd, err := find("etcd")
	if err != nil {
		return err
	}
	for _, proc := range c.processes(etcd) {
		proc.netns = c.netns
		if err := c.place.start(proc); err != nil {
			return err
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return await(ctx, "the API server", time.Minute, func(ctx context.Context) error {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("%w; %s", err, c.logTail("kube-apiserver"))
		}
		return nil
	})
}

// forward makes the API server reachable from this machine, whose kubectl is not on
// the underlay, and returns the port.
func (c controlPlane) forward(ctx context.Context) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	portFile := c.file("port")
	err = c.place.start(process{name: "forward", argv: []string{
		self, "forward", "--netns", c.netns, "--to", fmt.Sprintf("%s:%d", c.address, apiPort), "--port-file", portFile,
	}})
	if err != nil {
		return "", err
	}
	var port []byte
	err = await(ctx, "the forwarder", 10*time.Second, func(context.Context) (err error) {
		port, err = os.ReadFile(portFile)
		return err
	})
	return string(port), err
}

func (c controlPlane) processes(etcd string) []process {
	pki := func(name string) string { return filepath.Join(c.pkiDir(), name) }
	allocate := []string{"--allocate-node-cidrs", "--cluster-cidr", clusterCIDR}
	if c.noPodCIDRs {
		allocate = nil
	}
	return []process{
		{name: "etcd", argv: []string{
			etcd, "--data-dir", c.etcdDir(), "--unsafe-no-fsync",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", "http://127.0.0.1:2380", "--log-level", "warn",
		}},
		{name: "kube-apiserver", argv: []string{
			c.kubernetes("kube-apiserver"), "--etcd-servers", "http://127.0.0.1:2379",
			"--secure-port", fmt.Sprint(apiPort), "--bind-address", "0.0.0.0", "--advertise-address", c.address.String(),
			"--tls-cert-file", pki("apiserver.crt"), "--tls-private-key-file", pki("apiserver.key"), "--client-ca-file", pki("ca.crt"),
			"--service-account-key-file", pki("sa.key"), "--service-account-signing-key-file", pki("sa.key"),
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-cluster-ip-range", serviceCIDR,
			"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--allow-privileged=true",
			"--kubelet-client-certificate", pki("apiserver.crt"), "--kubelet-client-key", pki("apiserver.key"),
			"--kubelet-preferred-address-types", "InternalIP",
			// As before 1.36: what CIDRs such a server took is still in clusters.
			"--feature-gates", "StrictIPCIDRValidation=false",
		}},
		{name: "kube-controller-manager", argv: append([]string{
			c.kubernetes("kube-controller-manager"), "--kubeconfig", c.kubeconfigOf(controllerManager.file), "--leader-elect=false", "--bind-address", "127.0.0.1",
			"--use-service-account-credentials", "--service-account-private-key-file", pki("sa.key"), "--root-ca-file", pki("ca.crt"),
		}, allocate...)},
		{name: "kube-scheduler", argv: []string{
			c.kubernetes("kube-scheduler"), "--kubeconfig", c.kubeconfigOf(scheduler.file), "--leader-elect=false", "--bind-address", "127.0.0.1",
		}},
	}
}

// client is the administrator's.
func (p place) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("%w: is the cluster up (make cluster)?", err)
	}
	config.QPS, config.Burst = 100, 200
	return kubernetes.NewForConfig(config)
}
