package main

import (
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// user is who speaks to the API server: a certificate's common name and organizations
// are Kubernetes' user and groups.
type user struct {
	file, name string
	groups     []string
}

// The control plane's own users, of the default RBAC roles.
var (
	admin             = user{"admin", "sluice-cluster-admin", []string{"system:masters"}}
	controllerManager = user{"controller-manager", "system:kube-controller-manager", nil}
	scheduler         = user{"scheduler", "system:kube-scheduler", nil}
	kubeProxyUser     = user{"kube-proxy", "system:kube-proxy", nil}
)

func nodeUser(node string) user {
	return user{"node-" + node, "system:node:" + node, []string{"system:nodes"}}
}

// writeKubeconfig issues the user's certificate and writes the file, which needs no
// other one.
func (p place) writeKubeconfig(a *authority, u user, file, server string) error {
	if err := a.issue(u.file, u.name, u.groups, nil); err != nil {
		return err
	}
	var data [3][]byte
	for i, name := range []string{"ca.crt", u.file + ".crt", u.file + ".key"} {
		var err error
		if data[i], err = os.ReadFile(filepath.Join(p.pkiDir(), name)); err != nil {
			return err
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["cluster"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: data[0]}
	config.AuthInfos[u.name] = &clientcmdapi.AuthInfo{ClientCertificateData: data[1], ClientKeyData: data[2]}
	config.Contexts["cluster"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: u.name}
	config.CurrentContext = "cluster"
	return clientcmd.WriteToFile(*config, file)
}
