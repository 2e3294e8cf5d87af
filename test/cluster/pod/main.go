// Command pod is what runs in the test cluster's pods: it serves by HTTP, TCP and UDP,
// and tries whether it reaches others. `serve` answers with the host name, which in a
// pod is the pod's name; `try` takes targets, as protocol:address[:port]; `hold` keeps
// a connection for a while and tells what it went through.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/lab"
)

// The ports that a pod serves on, unless it is told others.
const (
	httpAddress = ":8080"
	listenTCP   = "tcp:8081"
	listenUDP   = "udp:8081"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 3 && args[0] == "hold":
		return holdFor(ctx, args[1], args[2])
	case len(args) > 1 && args[0] == "try":
		return json.NewEncoder(os.Stdout).Encode(tryAll(ctx, args[1:]))
	}
	return errors.New("usage: pod serve | pod try PROTOCOL:ADDRESS[:PORT]... | pod hold DURATION ADDRESS")
}

func holdFor(ctx context.Context, duration, to string) error {
	bound, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return json.NewEncoder(os.Stdout).Encode(hold(ctx, address))
}

func serve(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	web := &http.Server{Addr: httpAddress, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, name)
	})}
	failed := make(chan error, 2)
	go func() { failed <- web.ListenAndServe() }()
	go func() { failed <- echo(ctx) }()
	context.AfterFunc(ctx, func() { web.Close() })
	fmt.Println(name, "serves")
	err = lab.Serve{Answer: name, Listen: []string{listenTCP, listenUDP}}.Run(ctx, func() {})
	if err != nil || ctx.Err() != nil {
		return err
	}
	return <-failed
}

// tryAll tries all targets, some at once; each once.
func tryAll(ctx context.Context, targets []string) []lab.ProbeResult {
	results := make([]lab.ProbeResult, len(targets))
	slots := make(chan struct{}, 8)
	var wait sync.WaitGroup
	for i, target := range targets {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			results[i] = try(ctx, target)
		})
	}
	wait.Wait()
	return results
}

func try(ctx context.Context, target string) lab.ProbeResult {
	protocol, rest, _ := strings.Cut(target, ":")
	result := lab.ProbeResult{To: rest, Protocol: protocol}
	answer, err := attempt(ctx, protocol, rest)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	result.Reached, result.AnsweredBy = true, answer
	return result
}

func attempt(ctx context.Context, protocol, to string) (string, error) {
	switch protocol {
	case "icmp":
		address, err := netip.ParseAddr(to)
		if err != nil {
			return "", err
		}
		return lab.Try(ctx, protocol, netip.AddrPortFrom(address, 0))
	case "tcp", "udp":
		address, err := netip.ParseAddrPort(to)
		if err != nil {
			return "", err
		}
		return lab.Try(ctx, protocol, address)
	case "http":
		return get(ctx, "http://"+to+"/")
	}
	return "", fmt.Errorf("protocol %q: expected icmp, tcp, udp or http", protocol)
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1024))
	return strings.TrimSpace(string(body)), err
}
