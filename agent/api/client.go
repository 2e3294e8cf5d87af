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

// NewClient asks the agent at the socket's path. Each call is bounded by 10 s.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second,
	}}
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

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent at %s: is sluice-agent running on this node? (--socket names another place)", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("agent at %s: permission denied: the socket is root's", c.socket)
	case err != nil:
		return fmt.Errorf("agent at %s: %w", c.socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("agent at %s: %s", c.socket, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("agent at %s: answer to %s: %w", c.socket, path, err)
	}
	return nil
}
