package lease

import (
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

// writeHostPorts is a list of them, "8080:80/TCP,10.9.0.1:53:53/UDP".
func writeHostPorts(l Lease) string {
	words := make([]string, len(l.HostPorts))
	for i, h := range l.HostPorts {
		words[i] = h.String()
	}
	return strings.Join(words, ",")
}

func readHostPorts(l *Lease, s string) error {
	for word := range strings.SplitSeq(s, ",") {
		h, err := state.ParseHostPort(word)
		if err != nil {
			return err
		}
		l.HostPorts = append(l.HostPorts, h)
	}
	return nil
}
