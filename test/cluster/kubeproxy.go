package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// apiService is the ClusterIP of the Service kubernetes.default: the first of its range.
const apiService = "10.96.0.1"

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

// services sees that the API server answers by its Service: each node, a pod on its
// network and a pod of its own network.
func (t trial) services(ctx context.Context) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	if err := t.ensureNamespace(ctx); err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		err := await(ctx, "the API server's Service on "+n.Name, 30*time.Second, func(ctx context.Context) error { return t.apiAnswers(ctx, n.Netns) })
		if err != nil {
			return fmt.Errorf("%w; see %s", err, filepath.Join(t.nodeDir(n.Name), "kube-proxy.log"))
		}
		for _, hostNetwork := range []bool{true, false} {
			if err := t.singleReachesService(ctx, n.Name, hostNetwork); err != nil {
				return fmt.Errorf("node %s, host network %v: %w", n.Name, hostNetwork, err)
			}
		}
	}
	return t.delete(ctx)
}

// apiAnswers asks the API server, by its Service and its certificate, whether it is ready.
func (p place) apiAnswers(ctx context.Context, path string) error {
	ca, err := os.ReadFile(filepath.Join(p.pkiDir(), "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
			err = netns.Do(path, func() (err error) {
				conn, err = net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(apiService), Port: 443})
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+apiService+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) != "ok" {
		err = fmt.Errorf("it answered %s: %q", response.Status, body)
	}
	return err
}

func (t trial) singleReachesService(ctx context.Context, node string, hostNetwork bool) error {
	if err := t.single(ctx, node, hostNetwork); err != nil {
		return err
	}
	out, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "exec", singleName, "--", "/bin/pod", "try", "tcp:"+apiService+":443")
	if err != nil {
		return err
	}
	var results []lab.ProbeResult
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		return err
	}
	if len(results) != 1 || !results[0].Reached {
		return fmt.Errorf("the API server's Service was not reached: %+v", results)
	}
	return t.deleteSingle(ctx)
}
