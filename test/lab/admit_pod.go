package lab

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Port is a port that a pod listens on.
type Port struct {
	Port int `json:"port"`
	// Protocol is written as in a Pod: TCP, UDP or SCTP.
	Protocol string `json:"protocol"`
}

// declaredPorts are the containerPorts of a pod, once each, in the order of
// declaration.
func declaredPorts(pod *corev1.Pod) []Port {
	var ports []Port
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, declared := range container.Ports {
			port := Port{int(declared.ContainerPort), string(declared.Protocol)}
			if port.Protocol == "" {
				port.Protocol = "TCP"
			}
			if !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// HostPort is a port of the node that leads to one of a pod's, as a runtime tells a CNI
// plugin of it.
type HostPort struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// hostPorts are those of the containers that go on running.
func hostPorts(pod *corev1.Pod) []HostPort {
	var ports []HostPort
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.HostPort != 0 && !pod.Spec.HostNetwork {
				ports = append(ports, HostPort{int(p.HostPort), int(p.ContainerPort), strings.ToLower(cmp.Or(string(p.Protocol), "TCP")), p.HostIP})
			}
		}
	}
	return ports
}

// admitPod checks a pod, and puts a new one on a node.
func (c *cluster) admitPod(object, old Object, exists bool) error {
	pod, err := object.pod()
	if err != nil {
		return err
	}
	for _, port := range declaredPorts(pod) {
		if port.Port < 1 || port.Port > 65535 {
			return fmt.Errorf("%s: %s: containerPort %d is none: 1 to 65535 are", object.Source, object.Key(), port.Port)
		}
		if !slices.Contains([]string{"TCP", "UDP", "SCTP"}, port.Protocol) {
			return fmt.Errorf("%s: %s: protocol %q is unknown: use TCP, UDP or SCTP", object.Source, object.Key(), port.Protocol)
		}
	}
	if exists {
		return keepPodInPlace(object, old, pod)
	}
	if pod.Spec.NodeName == "" {
		node, err := c.schedule(object, pod)
		if err != nil {
			return err
		}
		set(object, node, "spec", "nodeName")
	} else if _, known := c.objects[nodeKey(pod.Spec.NodeName)]; !known {
		return fmt.Errorf("%s: %s: spec.nodeName: there is no node %q; the nodes are %s",
			object.Source, object.Key(), pod.Spec.NodeName, strings.Join(c.nodeNames(), ", "))
	}
	object.Object["status"] = map[string]any{"phase": string(corev1.PodPending)}
	return nil
}

// keepPodInPlace refuses the changes of an existing pod that would need another
// pod, and keeps the rest of what is not the user's.
func keepPodInPlace(object, old Object, pod *corev1.Pod) error {
	was, err := old.pod()
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != was.Spec.NodeName {
		return fmt.Errorf("%s: %s is on node %s and does not move: delete it first, then apply it with nodeName %s",
			object.Source, object.Key(), was.Spec.NodeName, pod.Spec.NodeName)
	}
	if pod.Spec.HostNetwork != was.Spec.HostNetwork {
		return fmt.Errorf("%s: %s exists with hostNetwork %v: delete it first, then apply it", object.Source, object.Key(), was.Spec.HostNetwork)
	}
	if !slices.Equal(hostPorts(pod), hostPorts(was)) {
		return fmt.Errorf("%s: %s exists with other host ports: delete it first, then apply it", object.Source, object.Key())
	}
	set(object, was.Spec.NodeName, "spec", "nodeName")
	// Its addresses are those it has, whatever is given.
	object.Object["status"] = old.clone().Object["status"]
	return nil
}

func (c *cluster) nodeNames() []string {
	var names []string
	for _, node := range c.ofKind(nodeKind) {
		names = append(names, node.GetName())
	}
	return names
}

// schedule chooses the node that has the fewest pods, of those that take new
// pods and have the labels of the pod's nodeSelector.
func (c *cluster) schedule(object Object, pod *corev1.Pod) (string, error) {
	load := map[string]int{}
	for _, other := range c.ofKind(podKind) {
		name, _, _ := unstructured.NestedString(other.Object, "spec", "nodeName")
		load[name]++
	}
	best := ""
	for _, node := range c.ofKind(nodeKind) {
		name := node.GetName()
		unschedulable, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable")
		if unschedulable || !selects(pod.Spec.NodeSelector, node.GetLabels()) {
			continue
		}
		if best == "" || load[name] < load[best] {
			best = name
		}
	}
	if best == "" {
		return "", fmt.Errorf("%s: %s: no node takes it: of the nodes %s none is schedulable with the labels of its nodeSelector",
			object.Source, object.Key(), strings.Join(c.nodeNames(), ", "))
	}
	return best, nil
}

func selects(selector, labels map[string]string) bool {
	for key := range maps.Keys(selector) {
		if value, ok := labels[key]; !ok || value != selector[key] {
			return false
		}
	}
	return true
}

// setPodRunning writes the status that a kubelet would once the pod's server
// listens.
func setPodRunning(object Object, addresses, host []netip.Addr, started string) {
	// The first is of the family of the node's first address.
	addresses = slices.Clone(addresses)
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int {
		if a.Is4() == b.Is4() {
			return 0
		}
		if a.Is4() == host[0].Is4() {
			return -1
		}
		return 1
	})
	list := func(addresses []netip.Addr) []any {
		ips := []any{}
		for _, address := range addresses {
			ips = append(ips, map[string]any{"ip": address.String()})
		}
		return ips
	}
	status := map[string]any{
		"phase":     string(corev1.PodRunning),
		"hostIP":    host[0].String(),
		"hostIPs":   list(host),
		"podIPs":    list(addresses),
		"startTime": started,
		"conditions": []any{
			map[string]any{"type": "PodReadyToStartContainers", "status": "True"},
			map[string]any{"type": "Initialized", "status": "True"},
			map[string]any{"type": "Ready", "status": "True"},
			map[string]any{"type": "ContainersReady", "status": "True"},
			map[string]any{"type": "PodScheduled", "status": "True"},
		},
	}
	if len(addresses) > 0 {
		status["podIP"] = addresses[0].String()
	}
	object.Object["status"] = status
}
