package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-cni/sluice/agent/hazard"
	"github.com/sluice-cni/sluice/agent/invariant"
	"github.com/sluice-cni/sluice/flows/state"
)

// DefaultSocket is where an agent listens unless told otherwise.
const DefaultSocket = "/run/sluice/agent.sock"

// Client asks an agent over its socket.
type Client struct {
	socket string
	http   *http.Client
}

// bound is how long an answer may take, but for a profile's.
const bound = 10 * time.Second

// NewClient asks the agent at the socket's path. Each call is bounded by 10 s.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks for the agent's status.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, "/status", &s)
}

// State asks for the input that is in force.
func (c *Client) State(ctx context.Context) (s state.State, err error) {
	return s, c.get(ctx, "/state", &s)
}

// Flows asks for the switch's flows.
func (c *Client) Flows(ctx context.Context) (list []Flow, err error) {
	return list, c.get(ctx, "/flows", &list)
}

// Pods asks for the attachments.
func (c *Client) Pods(ctx context.Context) (list []PodStatus, err error) {
	return list, c.get(ctx, "/pods", &list)
}

// Groups asks for the packets that each bucket has got, by group and bucket.
func (c *Client) Groups(ctx context.Context) (list map[uint32]map[uint32]uint64, err error) {
	return list, c.get(ctx, "/groups", &list)
}

// Check asks what is inconsistent on the node.
func (c *Client) Check(ctx context.Context) (broken []invariant.Broken, err error) {
	return broken, c.get(ctx, "/check", &broken)
}

// Hazards asks what hurts on the node's machine and is not Sluice's to change.
func (c *Client) Hazards(ctx context.Context) (list []hazard.Hazard, err error) {
	return list, c.get(ctx, "/hazards", &list)
}

// Profile writes a CPU profile of the agent, in pprof's format, taken over so many seconds.
func (c *Client) Profile(ctx context.Context, seconds int, w io.Writer) error {
	body, err := c.open(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	body, err := c.open(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("agent at %s: answer to %s: %w", c.socket, path, err)
	}
	return nil
}

// open is the body of an answer that is good.
func (c *Client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no agent at %s: is sluice-agent running on this node? (--socket names another place)", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("agent at %s: permission denied: the socket is root's", c.socket)
	case err != nil:
		return nil, fmt.Errorf("agent at %s: %w", c.socket, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("agent at %s: %s", c.socket, strings.TrimSpace(string(text)))
	}
	return resp.Body, nil
}
