package agent

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// kubeletsService is the environment variable by which kubelet tells every container where the Service
// "kubernetes" is ("tcp://10.96.0.1:443"), also where KUBERNETES_SERVICE_HOST is set to something else.
const kubeletsService = "KUBERNETES_PORT"

// apiServerByService says what is wrong if the API server is to be reached by a Service: whoever serves that
// may be this agent, which can do so once it has reached the API server. Empty if all is well.
func (a *Agent) apiServerByService(known []state.Service) string {
	src, ok := a.src.(source.Remote)
	if !ok {
		return ""
	}
	var kubelets netip.Addr
	if u, err := url.Parse(os.Getenv(kubeletsService)); err == nil {
		kubelets, _ = netip.ParseAddr(u.Hostname())
	}
	return byService(src.Server(), kubelets, a.cfg.Cluster.ServiceCIDRs, known)
}

// byService is apiServerByService; kubelets is the address that kubelet told, if it did.
func byService(server, kubelets netip.Addr, ranges []netip.Prefix, known []state.Service) string {
	whose := ""
	switch {
	case !server.IsValid():
		return ""
	case server == kubelets:
		whose = "the Service default/kubernetes"
	}
	for _, p := range ranges {
		if p.Contains(server) {
			whose = fmt.Sprintf("a Service: it is in %s", p)
		}
	}
	for _, o := range known {
		for _, a := range o.ClusterIPs {
			if a == server {
				whose = fmt.Sprintf("the Service %s/%s", o.Namespace, o.Name)
			}
		}
	}
	if whose == "" {
		return ""
	}
	return fmt.Sprintf("the API server is asked at %s, which is the address of %s: an agent that starts has no Services yet, and would wait for ever; "+
		"set api-server-host and api-server-port in the ConfigMap sluice (or the server in --kubeconfig) to where nodes reach the API server without any Service", server, whose)
}
