package openflow

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/sluice-cni/sluice/flows"
)

// Ofctl is a Switch that runs ovs-ofctl(8) for each call, about 10 ms each. It
// cannot notice that the switch restarts: Lost closes with Close only.
type Ofctl struct {
	socket string
	lost   chan struct{}
}

// NewOfctl talks to the bridge whose management socket is at path.
func NewOfctl(path string) *Ofctl { return &Ofctl{socket: "unix:" + path, lost: make(chan struct{})} }

// Lost implements Switch.
func (o *Ofctl) Lost() <-chan struct{} { return o.lost }

// Close implements Switch.
func (o *Ofctl) Close() error {
	close(o.lost)
	return nil
}

// Dump implements Switch.
func (o *Ofctl) Dump(ctx context.Context) ([]Entry, error) {
	text, err := o.run(ctx, "", "--no-names", "dump-flows", o.socket)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "actions=") {
			continue
		}
		f, s, err := flows.Parse(line)
		e := Entry{Flow: f, Stats: s}
		if err != nil {
			e.Strange = strings.TrimSpace(line)
		}
		out = append(out, e)
	}
	return out, nil
}

// Apply implements Switch.
func (o *Ofctl) Apply(ctx context.Context, c Change) error {
	if c.Empty() {
		return nil
	}
	var b strings.Builder
	for _, g := range c.PutGroups {
		b.WriteString("group add_or_mod " + g.String() + "\n")
	}
	for _, e := range c.Remove {
		b.WriteString("flow delete_strict " + removal(e) + "\n")
	}
	for _, f := range c.Add {
		b.WriteString("flow add " + f.String() + "\n")
	}
	for _, id := range c.RemoveGroups {
		fmt.Fprintf(&b, "group delete group_id=%d\n", id)
	}
	_, err := o.run(ctx, b.String(), "bundle", o.socket, "-")
	return err
}

// removal is the text that delete_strict takes: table, priority and match.
func removal(e Entry) string {
	if e.Strange == "" {
		f := e.Flow
		f.Cookie, f.Actions = 0, nil
		return strings.TrimSuffix(f.String(), " actions=drop")
	}
	head, _, _ := strings.Cut(e.Strange, " actions=")
	var keep []string
	for _, w := range strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' }) {
		switch name, _, _ := strings.Cut(w, "="); name {
		case "cookie", "duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "importance":
		default:
			keep = append(keep, w)
		}
	}
	return strings.Join(keep, ",")
}

func (o *Ofctl) run(ctx context.Context, stdin string, args ...string) (string, error) {
	args = append([]string{"-O", "OpenFlow15"}, args...)
	cmd := exec.CommandContext(ctx, "ovs-ofctl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ovs-ofctl %s: %w: %s", args[2], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
