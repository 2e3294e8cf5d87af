package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// TestMuchOfSomething: a policy with 1,000 peers, a peer that 10,000 rules name, a pod that 500 policies select. The
// verdicts are right, and nothing is missing from a dump (what is longer than a message may be, openflow refuses).
func TestMuchOfSomething(t *testing.T) {
	conn, ctl := bridge(t)
	for _, c := range []struct {
		name     string
		policies func() []state.NetworkPolicy
	}{
		{"a policy with 1,000 peers", func() []state.NetworkPolicy {
			var r state.PolicyRule
			for i := range 1000 {
				r.Peers = append(r.Peers, state.PolicyPeer{Pods: app(2 * i)})
			}
			r.Ports = []state.PolicyPort{{Number: 80}, {Number: 8000, End: 8079}}
			return []state.NetworkPolicy{{Namespace: "x", Name: "p", Selects: *app(0), Ingress: []state.PolicyRule{r}}}
		}},
		{"a peer that 10,000 rules name", func() (out []state.NetworkPolicy) {
			for i := range 100 {
				p := state.NetworkPolicy{Namespace: "x", Name: fmt.Sprintf("p%d", i), Selects: *app(0)}
				for j := range 100 {
					p.Ingress = append(p.Ingress, state.PolicyRule{
						Peers: []state.PolicyPeer{{Pods: app(2)}, {Pods: app(4 + i)}}, Ports: []state.PolicyPort{{Number: uint16(8000 + 100*i + 2*j)}, {Number: uint16(30000 + j)}},
					})
				}
				out = append(out, p)
			}
			return out
		}},
		{"a pod that 500 policies select", func() (out []state.NetworkPolicy) {
			for i := range 500 {
				out = append(out, state.NetworkPolicy{Namespace: "x", Name: fmt.Sprintf("p%d", i), Selects: *app(0), Ingress: []state.PolicyRule{
					{Peers: []state.PolicyPeer{{Pods: app(2 * i)}}, Ports: []state.PolicyPort{{Number: uint16(8000 + i)}}},
				}})
			}
			return out
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ofApps(1200)
			s.NetworkPolicies = c.policies()
			compiled := policy.Compile(s).Flows()
			put(t, conn, compiled)
			t.Logf("%d flows", len(compiled))
			allowed := 0
			to := end{s.Pods[0].Addresses[0], s.Attachments[0].OFPort}
			for _, from := range []int{1, 2, 3, 4, 5, 50, 103, 104, 998, 999, 1100} {
				for _, port := range []uint16{80, 81, 8000, 8001, 8002, 8079, 8080, 8499, 17998, 17999, 30000, 30099, 30100} {
					k := verdict.Connection{Source: s.Pods[from].Addresses[0], Destination: to.address, Protocol: state.TCP, Port: port}
					want := verdict.Judge(s, k).Ingress.Allowed
					if want {
						allowed++
					}
					for _, stage := range stages[:3] {
						if got, text := passes(t, ctl, k, end{k.Source, remote}, to, stage); got != want {
							t.Errorf("from app %d to port %d, %s: passes %v\n%s", from, port, stage, got, text)
						}
					}
				}
			}
			if allowed == 0 {
				t.Error("nothing is allowed: nothing was tried")
			}
		})
	}
}

func app(i int) *state.Selector {
	return &state.Selector{Labels: map[string]string{"app": fmt.Sprint(i)}}
}

// ofApps are so many pods of as many apps, of which the first is here.
func ofApps(pods int) state.State {
	s := state.State{Node: "n1"}
	for i := range pods {
		s.Pods = append(s.Pods, state.Pod{
			Namespace: "x", Name: fmt.Sprintf("p%d", i), Labels: app(i).Labels,
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})},
		})
	}
	s.Attachments = []state.Attachment{{ContainerID: "p0", PodNamespace: "x", PodName: "p0", OFPort: 258, Addresses: s.Pods[0].Addresses}}
	return s
}
