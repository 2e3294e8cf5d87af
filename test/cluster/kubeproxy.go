package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// kubeProxyConfig takes the name of the node and its kubeconfig. Kernel settings that are
// the whole machine's it leaves alone.
const kubeProxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
detectLocalMode: ClusterCIDR
clusterCIDR: ` + clusterCIDR + `
healthzBindAddress: 127.0.0.1:10256
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// kubeProxy is the service of a node that runs it.
func (n node) kubeProxy() (service, error) {
	file := filepath.Join(n.nodeDir(n.Name), "kube-proxy.yaml")
	text := fmt.Sprintf(kubeProxyConfig, n.Name, n.kubeconfigOf(kubeProxyUser.file))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return service{}, err
	}
	return service{Name: "kube-proxy", Argv: []string{n.kubernetes("kube-proxy"), "--config", file}}, nil
}
