package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// serviceCells are attempts by client place and column; each is a family and a protocol.
type serviceCells map[[2]string][]string

// serviceTables are the rows and columns of the tables, in their order: of backends on a node, and outside.
var serviceTables = []struct{ clients, backends []string }{
	{
		[]string{
			"the backend itself", "a pod of its node", "a hostNetwork pod of its node", "its node",
			"its node, bound to the node's address",
			"a pod of another node", "a hostNetwork pod of another node", "another node", "another node, bound to its address",
		},
		[]string{"pod, Cluster", "pod, Local", "hostNetwork pod, Cluster", "hostNetwork pod, Local"},
	},
	{[]string{"a pod", "a hostNetwork pod", "a node", "a node, bound to its address"}, []string{"outside, Cluster", "outside, Local"}},
}

// add puts an attempt into its cell, and fails the test if it ended otherwise than the API says. bound says that
// the client was bound to its own address.
func (c serviceCells) add(t *testing.T, r lab.ProbeResult, bound bool) {
	t.Helper()
	backend, policy, _ := strings.Cut(strings.TrimPrefix(r.To, "svc/default/"), "-")
	client := r.From[strings.LastIndex(r.From, "/")+1:] // default/pod1, node/n1
	near, here := backend != "outside", backend[len(backend)-1:] == client[len(client)-1:]
	family := "IPv4"
	if strings.Contains(r.Address, ":") {
		family = "IPv6"
	}
	want := policy == "cluster" || near && here
	refused := strings.Contains(r.Error, "refused")
	// An association is not given up for an ICMP error: Linux sends the INIT again.
	refused = refused || r.Protocol == "sctp" && !r.Reached
	switch {
	case r.Reached != want, r.Reached && !strings.Contains(r.AnsweredBy, backend), !r.Reached && !refused:
		t.Errorf("%s to %s %s %s: reached: %v, want %v; answered by %q: %s", r.From, r.To, r.Address, r.Protocol, r.Reached, want, r.AnsweredBy, r.Error)
	}
	word := family + " " + strings.ToUpper(r.Protocol)
	if refused {
		word += " refused"
	}
	row := map[string]string{"n": "node", "host": "hostNetwork pod", "pod": "pod", "other": "pod"}[strings.TrimRight(client, "12")]
	switch {
	case client == backend:
		row = "the backend itself"
	case near && here && row == "node":
		row = "its node"
	case near && here:
		row = "a " + row + " of its node"
	case near && row == "node":
		row = "another node"
	case near:
		row = "a " + row + " of another node"
	default:
		row = "a " + row
	}
	switch {
	case bound && near && here:
		row += ", bound to the node's address"
	case bound:
		row += ", bound to its address"
	}
	column := strings.TrimRight(backend, "12")
	if column == "host" {
		column = "hostNetwork pod"
	}
	key := [2]string{row, column + ", " + strings.ToUpper(policy[:1]) + policy[1:]}
	if !slices.Contains(c[key], word) {
		c[key] = append(c[key], word)
	}
}

// sctpAsTCP fails the test unless SCTP is served where TCP is, and nowhere else.
func (c serviceCells) sctpAsTCP(t *testing.T) {
	t.Helper()
	for key, words := range c {
		of := func(protocol string) (out []string) {
			for _, w := range words {
				if strings.Contains(w, " "+protocol) {
					out = append(out, strings.Replace(w, protocol, "SCTP", 1))
				}
			}
			slices.Sort(out)
			return out
		}
		if sctp, tcp := of("SCTP"), of("TCP"); !slices.Equal(sctp, tcp) {
			t.Errorf("%v: by SCTP %q, by TCP %q", key, sctp, tcp)
		}
	}
}

// page is the page of the docs. SCTP is not on it: few machines speak it.
func (c serviceCells) page() string {
	var b strings.Builder
	fmt.Fprint(&b, `# What reaches what by a Service

Each cell is what a client was answered that asked the ClusterIP of a Service with one backend, over two nodes of a
[lab](lab.md): by the families that both have addresses of there (a hostNetwork pod has no IPv6 one), by TCP and by UDP. The columns are
where the backend is, and the Service's `+"`internalTrafficPolicy`"+`. "Refused" is at once, by a TCP reset or an ICMP error.

By SCTP it is as by TCP, where it is spoken: by the kernel, and by its datapath (Open vSwitch in userspace does not know it). What
is refused a client learns when it gives up: Linux goes on with an association in spite of an ICMP error.

This page is written by `+"`SLUICE_BIN_DIR=$PWD/bin go test ./test/scenarios -run ServicesAcrossNodes -update`"+`, and without
`+"`-update`"+` the test fails if it would write another one; `+"`SLUICE_TEST_RUN=ServicesAcrossNodes test/kernel/test.sh ./test/scenarios`"+` compares it with
the kernel's datapath.
`)
	for _, table := range serviceTables {
		fmt.Fprintf(&b, "\n| client | %s |\n|---%s|\n", strings.Join(table.backends, " | "), strings.Repeat("|---", len(table.backends)))
		for _, row := range table.clients {
			fmt.Fprint(&b, "| ", row)
			for _, column := range table.backends {
				words := slices.DeleteFunc(slices.Clone(c[[2]string{row, column}]), func(w string) bool { return strings.Contains(w, "SCTP") })
				slices.Sort(words)
				fmt.Fprint(&b, " | ", summary(words))
			}
			fmt.Fprintln(&b, " |")
		}
	}
	return b.String()
}

// summary is a cell's words, each family once.
func summary(words []string) string {
	var out []string
	for _, family := range []string{"IPv4", "IPv6"} {
		var served, refused []string
		for _, w := range words {
			protocol, of := strings.CutPrefix(w, family+" ")
			if p, ok := strings.CutSuffix(protocol, " refused"); of && ok {
				refused = append(refused, p)
			} else if of {
				served = append(served, protocol)
			}
		}
		if len(served) > 0 {
			out = append(out, family+" "+strings.Join(served, ", "))
		}
		if len(refused) > 0 {
			out = append(out, family+" "+strings.Join(refused, ", ")+" refused")
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, "; ")
}
