// Command pod is what runs in the test cluster's pods: it serves by HTTP, TCP and UDP,
// and tries whether it reaches others. `serve` answers with the host name, which in a
// pod is the pod's name; `try` takes targets, as protocol:host[:port]; `hold` keeps a
// connection and `load` opens many, until their standard input ends, and both tell what they
// went through.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
		return serve(ctx, &sessions{})
	case len(args) == 2 && args[0] == "serve" && args[1] == "--drain":
		s := &sessions{quiet: drainQuiet}
		return serve(s.drained(ctx), s)
	case len(args) == 2 && args[0] == "hold":
		return holdUntilEOF(ctx, args[1])
	case len(args) == 3 && args[0] == "load":
		return loadUntilEOF(ctx, args[1], args[2])
	case len(args) > 1 && args[0] == "try":
		return json.NewEncoder(os.Stdout).Encode(tryAll(ctx, args[1:]))
	}
	return errors.New("usage: pod serve [--drain] | pod try PROTOCOL:HOST[:PORT]... | pod hold ADDRESS | pod load HOST:TCP-PORT HOST:UDP-PORT")
}

// untilEOF ends with ctx or when the standard input does: who has started the program in a
// pod has seen enough.
func untilEOF(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

// begun is written when what the program does until EOF is under way.
func begun() { fmt.Println("begun") }

func serve(ctx context.Context, s *sessions) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprint(":", sessionPort))
	if err != nil {
		return err
	}
	web := &http.Server{Addr: httpAddress, ReadHeaderTimeout: 5 * time.Second, Handler: newHealth(name)}
	failed := make(chan error, 3)
	go func() { failed <- web.ListenAndServe() }()
	go func() { failed <- echo(ctx) }()
	go func() { failed <- s.serve(ctx, listener, name) }()
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
	case "dns":
		return lookUp(ctx, to)
	case "icmp":
		address, err := netip.ParseAddr(to)
		if err != nil {
			return "", err
		}
		return lab.Try(ctx, protocol, netip.AddrPortFrom(address, 0))
	case "tcp", "udp":
		address, err := resolve(ctx, to)
		if err != nil {
			return "", err
		}
		return lab.Try(ctx, protocol, address)
	case "http":
		return get(ctx, "http://"+to+"/")
	}
	return "", fmt.Errorf("protocol %q: expected dns, icmp, tcp, udp or http", protocol)
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
