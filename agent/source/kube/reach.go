package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"

	"k8s.io/client-go/kubernetes"
)

// Dial watches the API server of a kubeconfig file (see Config) once Run runs.
func Dial(kubeconfig string, log *slog.Logger) (*Cluster, error) {
	config, err := Config(kubeconfig)
	if err != nil {
		return nil, err
	}
	var cluster atomic.Pointer[Cluster]
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return witness{next, func(err error) {
			if c := cluster.Load(); c != nil {
				c.reached(err)
			}
		}}
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	c := New(client, config.Host, log)
	cluster.Store(c)
	return c, nil
}

// Server implements source.Remote.
func (c *Cluster) Server() netip.Addr {
	server, err := url.Parse(c.host)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(server.Hostname())
	return a
}

// witness tells of each request whether it was answered at all. Informers do not: a watch
// that is refused at the door they try again and again, in silence.
type witness struct {
	next http.RoundTripper
	tell func(error)
}

// RoundTrip implements http.RoundTripper.
func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if !errors.Is(err, context.Canceled) { // that says nothing about the server
		w.tell(err)
	}
	return resp, err
}

// apiServer stands among the resources for all of them.
const apiServer = "API server"

// reached records whether the API server has answered.
func (c *Cluster) reached(err error) {
	c.mu.Lock()
	_, away := c.errors[apiServer]
	if err == nil {
		delete(c.errors, apiServer)
	} else if !away {
		c.errors[apiServer] = fmt.Sprintf("the API server does not answer: %v", err)
	}
	c.mu.Unlock()
	switch {
	case err != nil && !away:
		c.log.Error("the last known state stays in force", "error", err)
	case err == nil && away:
		c.log.Info("the API server answers again")
	default:
		return
	}
	c.notify()
}
