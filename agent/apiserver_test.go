package agent

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
)

func TestAnAPIServerByAService(t *testing.T) {
	virtual, direct := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("192.0.2.1")
	ranges := []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}
	services := []state.Service{{Namespace: "default", Name: "kubernetes", ClusterIPs: []netip.Addr{virtual}}}
	for name, c := range map[string]struct {
		server, kubelets netip.Addr
		ranges           []netip.Prefix
		services         []state.Service
		want             string // empty: all is well
	}{
		"direct":                       {direct, virtual, ranges, services, ""},
		"by a name":                    {netip.Addr{}, virtual, ranges, services, ""},
		"nothing is known of Services": {virtual, netip.Addr{}, nil, nil, ""},
		"as kubelet says":              {virtual, virtual, nil, nil, "which is the address of the Service default/kubernetes:"},
		"in the range of Services":     {virtual, netip.Addr{}, ranges, nil, "which is the address of a Service: it is in 10.96.0.0/12:"},
		"that of a Service":            {virtual, netip.Addr{}, nil, services, "which is the address of the Service default/kubernetes:"},
	} {
		got := byService(c.server, c.kubelets, c.ranges, c.services)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAnAgentThatIsToUseAServiceSaysSo before it has reached the API server: it never will.
func TestAnAgentThatIsToUseAServiceSaysSo(t *testing.T) {
	dir := t.TempDir()
	cfg := Default()
	cfg.Node, cfg.RunDir, cfg.Kubeconfig = "n1", dir, filepath.Join(dir, "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://10.96.0.1:443'}}]\n"
	if err := os.WriteFile(cfg.Kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(kubeletsService, "tcp://10.96.0.1:443")
	a, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	problems := a.Status().Problems
	if !slices.ContainsFunc(problems, func(p string) bool {
		return strings.Contains(p, "asked at 10.96.0.1") && strings.Contains(p, "set api-server-host")
	}) {
		t.Errorf("problems %q", problems)
	}
}
