package host

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/sluice-cni/sluice/flows/render"
)

// table is the name of our nftables tables.
const table = "sluice"

// rules puts the nftables tables in place, each as one transaction, and finds out
// whether somebody changed them since.
type rules struct {
	// want is the last desired state but for the host ports, which are ports; left is what nft
	// printed of both once they were in.
	want, left string
	ports      []render.HostPort
}

// rulesets applies the rules if they are others than last time, or no longer what
// was left there. Host ports come and go with pods, and alone.
func (h *Host) rulesets(ctx context.Context, want render.Rules, look bool) error {
	rest := want
	rest.HostPorts = nil
	text := fmt.Sprintf("%+v", rest)
	samePorts := slices.Equal(want.HostPorts, h.rules.ports)
	same := text == h.rules.want
	if same && samePorts && !look {
		return nil
	}
	if same {
		have, err := list(ctx)
		if err != nil {
			return err
		}
		if same = have == h.rules.left; same && samePorts {
			return nil
		}
	}
	h.rules.want = ""
	change := h.reload
	if same {
		change = h.changePorts
	}
	if err := change(ctx, want); err != nil {
		return err
	}
	left, err := list(ctx)
	if err != nil {
		return err
	}
	h.rules.want, h.rules.ports, h.rules.left = text, want.HostPorts, left
	return nil
}

// reload loads the tables anew. Which host ports there are is not known: somebody has changed
// them, or an agent before this one has made them.
func (h *Host) reload(ctx context.Context, want render.Rules) error {
	there, err := InstalledHostPorts(ctx)
	if err != nil {
		return err
	}
	h.announce(ctx, there, want.HostPorts)
	if err := load(ctx, want); err != nil {
		return err
	}
	return h.did("load nftables table "+table, nil)
}

// changePorts leaves all but the host ports.
func (h *Host) changePorts(ctx context.Context, want render.Rules) error {
	h.announce(ctx, h.rules.ports, want.HostPorts)
	if err := putPorts(ctx, h.rules.ports, want.HostPorts); err != nil {
		return fmt.Errorf("change host ports in nftables table %s: %w", table, err)
	}
	return h.did("change host ports", nil)
}

// announce tells of host ports that change. There are those that are led now; what was put in place
// last may have led connections until a moment ago.
func (h *Host) announce(ctx context.Context, there, want []render.HostPort) {
	without := func(a, b []render.HostPort) []render.HostPort {
		return slices.DeleteFunc(slices.Clone(a), func(p render.HostPort) bool { return slices.Contains(b, p) })
	}
	leaving, coming := without(slices.Concat(there, h.rules.ports), want), without(want, there)
	if h.Before != nil && len(leaving)+len(coming) > 0 {
		h.Before(ctx, leaving, coming)
	}
}

// load puts our tables in place whole, each in one transaction.
func load(ctx context.Context, want render.Rules) error {
	for _, f := range []knftables.Family{knftables.InetFamily, knftables.ARPFamily} {
		nft, err := knftables.New(f, table)
		if err != nil {
			return fmt.Errorf("nftables: %w (install the package nftables)", err)
		}
		tx := nft.NewTransaction()
		tx.Add(&knftables.Table{Comment: knftables.PtrTo("made by sluice-agent; changes are undone")})
		tx.Delete(&knftables.Table{})
		tx.Add(&knftables.Table{Comment: knftables.PtrTo("made by sluice-agent; changes are undone")})
		if f == knftables.InetFamily {
			inet(tx, want)
		} else {
			arp(tx, want)
		}
		if err := nft.Run(ctx, tx); err != nil {
			return fmt.Errorf("put nftables table %s %s in place: %w", f, table, err)
		}
	}
	return nil
}

// inet holds the masquerade, the host ports and, for userspace Open vSwitch, the guard.
func inet(tx *knftables.Transaction, want render.Rules) {
	hostPorts(tx, want)
	asGateway(tx, want)
	refuse(tx, want.Refused)
	pods := want.Masquerade && len(want.Local) > 0
	if pods || len(want.Hairpins) > 0 {
		tx.Add(&knftables.Chain{
			Name: "leaving", Type: knftables.PtrTo(knftables.NATType), Hook: knftables.PtrTo(knftables.PostroutingHook),
			Priority: knftables.PtrTo(knftables.SNATPriority),
			Comment:  knftables.PtrTo("what pods send out of the cluster leaves with the node's address"),
		})
	}
	for _, a := range want.Hairpins {
		tx.Add(&knftables.Rule{Chain: "leaving", Rule: knftables.Concat("oifname != ", quoted(render.GatewayDevice), ip(a), "saddr", a.String(), "masquerade")})
	}
	if pods {
		for _, f := range []struct{ set, typ, ip string }{{"cluster4", "ipv4_addr", "ip"}, {"cluster6", "ipv6_addr", "ip6"}} {
			tx.Add(&knftables.Set{
				Name: f.set, Type: f.typ, Flags: []knftables.SetFlag{knftables.IntervalFlag}, AutoMerge: knftables.PtrTo(true),
				Comment: knftables.PtrTo("all podCIDRs: between them nothing is translated"),
			})
			for _, p := range want.Cluster {
				if p.Addr().Is4() == (f.ip == "ip") {
					tx.Add(&knftables.Element{Set: f.set, Key: []string{p.String()}})
				}
			}
		}
		for _, p := range want.Local {
			family, set := ip(p.Addr()), "@cluster4"
			if p.Addr().Is6() {
				set = "@cluster6"
			}
			tx.Add(&knftables.Rule{Chain: "leaving", Rule: knftables.Concat(
				"oifname != ", quoted(render.GatewayDevice), family, "saddr", p.String(), family, "daddr != ", set, "masquerade")})
		}
	}
	for _, c := range []struct {
		name string
		hook knftables.BaseChainHook
	}{{"untracked_in", knftables.PreroutingHook}, {"untracked_out", knftables.OutputHook}} {
		tx.Add(&knftables.Chain{
			Name: c.name, Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(c.hook), Priority: knftables.PtrTo(knftables.RawPriority),
			Comment: knftables.PtrTo("tunnels stay out of the host's conntrack"),
		})
		for _, p := range want.Untracked {
			tx.Add(&knftables.Rule{Chain: c.name, Rule: knftables.Concat("udp dport", p, "notrack")})
		}
	}
	if len(want.Unheard) > 0 {
		tx.Add(&knftables.Chain{
			Name: "unheard", Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(knftables.PreroutingHook),
			Priority: knftables.PtrTo(knftables.RawPriority),
			Comment:  knftables.PtrTo("userspace Open vSwitch owns these devices: the host must not hear each frame a second time"),
		})
		for _, d := range want.Unheard {
			tx.Add(&knftables.Rule{Chain: "unheard", Rule: knftables.Concat("iifname", quoted(d), "drop")})
		}
	}
}

// arp holds the guard for ARP, which an inet table does not see.
func arp(tx *knftables.Transaction, want render.Rules) {
	if len(want.Unheard) == 0 {
		return
	}
	tx.Add(&knftables.Chain{
		Name: "unheard", Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(knftables.InputHook),
		Priority: knftables.PtrTo(knftables.FilterPriority),
	})
	for _, d := range want.Unheard {
		tx.Add(&knftables.Rule{Chain: "unheard", Rule: knftables.Concat("iifname", quoted(d), "drop")})
	}
}

func quoted(s string) string { return `"` + s + `"` }

// list is what nft prints of our tables, without counters; empty for one that is gone.
func list(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "nft", "-s", "list", "ruleset").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nft list ruleset: %w: %s", err, strings.TrimSpace(string(out)))
	}
	var b strings.Builder
	ours := false
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "table ") {
			ours = strings.HasPrefix(line, "table inet "+table+" ") || strings.HasPrefix(line, "table arp "+table+" ")
		}
		if ours {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}
