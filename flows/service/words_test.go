package service_test

import (
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/flows/service"
)

// text is a port's answer, a line a backend.
func text(p service.Port) string {
	var out []string
	if p.Topology != "" {
		out = append(out, p.Topology)
	}
	for _, b := range p.Backends {
		line := b.Address.String() + " "
		if !b.Used() {
			line += "- "
		}
		out = append(out, line+b.Reason.String())
	}
	return strings.Join(out, "\n")
}

func fromYAML(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, "\t", " ")), into); err != nil {
		t.Fatal(err)
	}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
