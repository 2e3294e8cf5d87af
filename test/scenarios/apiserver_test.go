package scenarios

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/apiserver"
	"github.com/sluice-cni/sluice/test/bench/watched"
	"github.com/sluice-cni/sluice/test/slow"
)

// TestTheAgentNeedsNoService: one whose switch has no flow, whose node has no route to Services, and which remembers
// nothing, reaches the API server and puts the Services in.
func TestTheAgentNeedsNoService(t *testing.T) {
	server := apiserver.New()
	for path, object := range map[string]runtime.Object{
		"/api/v1/nodes": &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: watched.NodeName, UID: "u-n1"},
			Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
			Status: corev1.NodeStatus{
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.9.0.1"}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		},
		"/api/v1/services": &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
			Spec: corev1.ServiceSpec{
				ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
				Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443}},
			},
		},
	} {
		if err := server.Put(path, object); err != nil {
			t.Fatal(err)
		}
	}
	n, err := watched.Start(testContext(t), "api", binDir, server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(time.Minute))
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(n.At.AgentSocket), "last-input.json")); err != nil {
		t.Fatal(err)
	}
	bridge := "unix:" + n.At.OVSRunDir + "/br-sluice.mgmt"
	inNode := func(command string) string {
		t.Helper()
		var out []byte
		if err := netns.Do(n.At.Netns, func() (err error) {
			out, err = exec.Command("sh", "-c", command).CombinedOutput()
			return err
		}); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		return string(out)
	}
	inNode("ovs-ofctl -O OpenFlow15 del-flows " + bridge)
	inNode("ovs-ofctl -O OpenFlow15 del-groups " + bridge)
	inNode("ip route flush proto 115")
	if left := inNode("ovs-ofctl -O OpenFlow15 dump-flows " + bridge + " | grep -c table= || true; ip route show 10.96.0.1"); strings.TrimSpace(left) != "0" {
		t.Fatalf("flows and routes that are left: %s", left)
	}
	if err := n.StartAgent(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := n.Await(testContext(t), func(s api.Status) bool { return len(s.Problems) == 0 }); err != nil {
		t.Fatal(err)
	}
	flows := inNode("ovs-ofctl -O OpenFlow15 dump-flows " + bridge)
	if !strings.Contains(flows, "nw_dst=10.96.0.1") {
		t.Errorf("the Service is not in the switch:\n%s", flows)
	}
	if routes := inNode("ip route show 10.96.0.1"); !strings.Contains(routes, "proto 115") {
		t.Errorf("the node has no route to the Service: %q", routes)
	}
}
