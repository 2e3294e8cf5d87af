package source_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// TestHostPortsAreRead from the containers that go on running, also from what is kept of them.
func TestHostPortsAreRead(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	spec := corev1.PodSpec{
		Containers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, HostPort: 8080}, {ContainerPort: 81}}},
			{Ports: []corev1.ContainerPort{{ContainerPort: 53, HostPort: 53, HostIP: "10.9.0.1", Protocol: corev1.ProtocolUDP}, {ContainerPort: 54, HostPort: 54, HostIP: "nowhere"}}},
		},
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{ContainerPort: 90, HostPort: 90}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{ContainerPort: 91, HostPort: 91, Protocol: corev1.ProtocolSCTP}}},
		},
	}
	want := []state.HostPort{
		{Protocol: state.SCTP, Port: 91, PodPort: 91},
		{Protocol: state.TCP, Port: 8080, PodPort: 80},
		{Protocol: state.UDP, Port: 53, PodPort: 53, Address: netip.MustParseAddr("10.9.0.1")},
	}
	pod := func(p *corev1.Pod) state.Pod {
		t.Helper()
		out, err := source.Pod(p)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	addrs := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	given := &corev1.Pod{Spec: spec}
	kept := &corev1.Pod{Spec: corev1.PodSpec{Containers: source.Containers(spec)}}
	written := source.Manifests(source.Objects{Pods: []state.Pod{pod(given)}})[0].(*corev1.Pod)
	for name, p := range map[string]*corev1.Pod{"given": given, "kept": kept, "written": written} {
		got := pod(p)
		if diff := cmp.Diff(want, got.HostPorts, addrs); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(got.Ports) != 1 || got.Ports[0].Name != "http" {
			t.Errorf("%s: named ports %v", name, got.Ports)
		}
	}
	given.Spec.HostNetwork = true
	if got := pod(given); got.HostPorts != nil {
		t.Errorf("on the host's network: %v", got.HostPorts)
	}
}
