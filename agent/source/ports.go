package source

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-cni/sluice/flows/state"
)

// eachPort calls take with the ports of the containers, then of the init containers that are
// restarted and so go on running.
func eachPort(spec corev1.PodSpec, take func(corev1.ContainerPort)) {
	all := func(c corev1.Container) {
		for _, p := range c.Ports {
			if p.ContainerPort >= 1 && p.ContainerPort <= 65535 {
				p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
				take(p)
			}
		}
	}
	for _, c := range spec.Containers {
		all(c)
	}
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all(c)
		}
	}
}

// namedPorts are the ports that have names.
func namedPorts(spec corev1.PodSpec) (out []state.NamedPort) {
	eachPort(spec, func(p corev1.ContainerPort) {
		if p.Name != "" {
			out = append(out, state.NamedPort{Name: p.Name, Protocol: state.Protocol(p.Protocol), Port: uint16(p.ContainerPort)})
		}
	})
	return out
}

// hostPorts are the ports that are the node's, too. On the host's network every port is, and
// leads nowhere else. One whose hostIP is no address, which the API server lets pass, leads
// nowhere: its pod cannot be plugged in.
func hostPorts(spec corev1.PodSpec) (out []state.HostPort) {
	if spec.HostNetwork {
		return nil
	}
	eachPort(spec, func(p corev1.ContainerPort) {
		h := state.HostPort{Protocol: state.Protocol(p.Protocol), Port: uint16(p.HostPort), PodPort: uint16(p.ContainerPort)}
		if p.HostPort < 1 || p.HostPort > 65535 || h.Protocol.Number() == 0 {
			return
		}
		if p.HostIP != "" {
			addr, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return
			}
			h.Address = addr.Unmap()
		}
		out = append(out, h)
	})
	slices.SortFunc(out, state.CompareHostPorts)
	return slices.Compact(out)
}

// Containers is one container that has those of the spec's ports that state needs.
func Containers(spec corev1.PodSpec) []corev1.Container {
	var out corev1.Container
	eachPort(spec, func(p corev1.ContainerPort) {
		if p.Name != "" || p.HostPort != 0 {
			out.Ports = append(out.Ports, p)
		}
	})
	return containerOf(out.Ports)
}

// containersOf is one container with these ports.
func containersOf(named []state.NamedPort, onHost []state.HostPort) []corev1.Container {
	var ports []corev1.ContainerPort
	for _, p := range named {
		ports = append(ports, corev1.ContainerPort{Name: p.Name, Protocol: corev1.Protocol(p.Protocol), ContainerPort: int32(p.Port)})
	}
	for _, h := range onHost {
		p := corev1.ContainerPort{Protocol: corev1.Protocol(h.Protocol), HostPort: int32(h.Port), ContainerPort: int32(h.PodPort)}
		if h.Address.IsValid() {
			p.HostIP = h.Address.String()
		}
		ports = append(ports, p)
	}
	return containerOf(ports)
}

func containerOf(ports []corev1.ContainerPort) []corev1.Container {
	if len(ports) == 0 {
		return nil
	}
	return []corev1.Container{{Name: "ports", Ports: ports}}
}
