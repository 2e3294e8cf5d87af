package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// apiByService sees that the API server answers by its Service wherever it is asked.
func (t trial) apiByService(ctx context.Context, callers []caller) error {
	var g errgroup.Group
	for _, c := range callers {
		g.Go(func() error {
			if c.pod == "" {
				if err := t.apiAnswers(ctx, c.netns); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				return nil
			}
			results, err := t.tryFrom(ctx, trialNamespace, c.pod, fmt.Sprintf("tcp:%s:443", apiService))
			if err == nil && !results[0].Reached {
				err = fmt.Errorf("%s: the API server's Service was not reached: %s", c.name, results[0].Error)
			}
			return err
		})
	}
	return g.Wait()
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
