package main

import (
	"context"
	_ "embed"
	"fmt"
)

// dnsObjects are CoreDNS with all that it needs.
//
//go:embed dns.yaml
var dnsObjects []byte

// installDNS returns when CoreDNS answers its readiness probe: it has then read all that
// it asks of the API server, by a Service.
func (p place) installDNS(ctx context.Context, c cache) error {
	if _, err := p.kubectl(ctx, c, dnsObjects, "apply", "-f", "-"); err != nil {
		return err
	}
	_, err := p.kubectl(ctx, c, nil, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=2m")
	if err != nil {
		logs, _ := p.kubectl(ctx, c, nil, "-n", "kube-system", "logs", "-l", "k8s-app=kube-dns", "--tail=20")
		return fmt.Errorf("%w\n%s", err, logs)
	}
	return nil
}

// removeDNS leaves nodes without a pod of it.
func (p place) removeDNS(ctx context.Context, c cache) error {
	if _, err := p.kubectl(ctx, c, dnsObjects, "delete", "--ignore-not-found", "-f", "-"); err != nil {
		return err
	}
	_, err := p.kubectl(ctx, c, nil, "-n", "kube-system", "wait", "--for=delete", "pod", "-l", "k8s-app=kube-dns", "--timeout=60s")
	return err
}
