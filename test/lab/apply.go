package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Apply adds objects or changes those that are there already, and returns when
// every agent has them in force and new pods run.
//
// If an object is refused, nothing has been applied. If a pod or a node could not
// be started, or an agent did not get so far in time, the rest is applied, and
// applying again tries again. Agents that Kill ended are not waited for.
func (l *Lab) Apply(ctx context.Context, objects []Object) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	s, err := l.begin(ctx)
	if err != nil {
		return err
	}
	err = s.apply(ctx, objects)
	s.end()
	if errors.As(err, new(*refusedError)) {
		return err
	}
	return errors.Join(err, l.awaitInForce(ctx))
}

// ApplyYAML applies the objects of a YAML text.
func (l *Lab) ApplyYAML(ctx context.Context, text string) error {
	objects, err := ParseObjects("text", []byte(text))
	if err != nil {
		return err
	}
	return l.Apply(ctx, objects)
}

// refusedError says that nothing was applied.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func (s *session) apply(ctx context.Context, given []Object) error {
	done, err := s.cluster.accept(given)
	if err != nil {
		return &refusedError{err}
	}
	for _, note := range done.notes {
		s.out.printf("%s", note)
	}
	if err := s.addNodes(ctx, done.newNodes); err != nil {
		return &refusedError{err}
	}
	if err := s.moveNodes(ctx, done.movedNodes); err != nil {
		return err
	}
	for _, object := range done.objects {
		if err := s.write(object); err != nil {
			return err
		}
	}
	err = forAll(done.newNodes, func(name string) error {
		h := s.host(name)
		if err := s.fillManifests(h); err != nil {
			return err
		}
		if !s.state.NoAgents {
			if err := h.start(ctx, Agent); err != nil {
				return err
			}
		}
		s.out.printf("node %s: %s, pods %v", name, joinAddresses(s.state.node(name).Addresses), podCIDRs(s.cluster.objects[nodeKey(name)]))
		return nil
	})
	if err != nil {
		return err
	}
	changed, err := s.notePods(done.objects)
	if err != nil {
		return err
	}
	return errors.Join(s.restartServers(ctx, changed), s.runPods(ctx, func(pod *podState) bool {
		return s.isAmong(done.objects, pod) || !s.host(pod.Node).killed(Agent)
	}))
}

// addNodes makes machines of new Nodes, with Open vSwitch running. If one fails
// none stays.
func (s *session) addNodes(ctx context.Context, names []string) error {
	for _, name := range names {
		node := s.cluster.objects[nodeKey(name)]
		s.state.Nodes = append(s.state.Nodes, nodeState{Name: name, Addresses: nodeAddresses(node)})
	}
	if err := s.save(); err != nil {
		return err
	}
	err := forAll(names, func(name string) error {
		h := s.host(name)
		if err := h.create(); err != nil {
			return err
		}
		return h.startSwitch(ctx)
	})
	if err == nil {
		return nil
	}
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, s.host(name).remove(context.WithoutCancel(ctx)))
		s.state.dropNode(name)
	}
	return errors.Join(append(errs, s.save())...)
}

// moveNodes gives machines the addresses that their Nodes have now, beside those that they
// had.
func (s *session) moveNodes(ctx context.Context, names []string) error {
	for _, name := range names {
		s.state.node(name).Addresses = nodeAddresses(s.cluster.objects[nodeKey(name)])
		if err := s.host(name).restoreUnderlay(ctx); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return s.save()
}

// notePods writes down what new and changed pods shall be, and returns those
// that run and whose ports have changed.
func (s *session) notePods(objects []Object) (changed []*podState, err error) {
	for _, object := range objects {
		if object.Key().groupKind() != podKind {
			continue
		}
		pod, err := object.pod()
		if err != nil {
			return nil, err
		}
		ports := declaredPorts(pod)
		for _, port := range ports {
			if port.Protocol == "SCTP" && !HasSCTP() {
				s.out.printf("pod %s/%s: nothing listens on port %d/SCTP: this machine's kernel has no SCTP", pod.Namespace, pod.Name, port.Port)
			}
		}
		known := s.state.pod(pod.Namespace, pod.Name)
		if known == nil {
			s.state.Pods = append(s.state.Pods, s.newPod(pod.Namespace, pod.Name, pod.Spec.NodeName, pod.Spec.HostNetwork))
			known = s.state.pod(pod.Namespace, pod.Name)
		}
		if !slices.Equal(known.Ports, ports) && known.Running {
			changed = append(changed, known)
		}
		known.Ports, known.HostPorts = ports, hostPorts(pod)
	}
	return changed, s.save()
}

func (s *session) newPod(namespace, name, node string, hostNetwork bool) podState {
	pod := podState{Namespace: namespace, Name: name, Node: node, HostNetwork: hostNetwork}
	if hostNetwork {
		pod.Netns = s.nodeNetns(node)
		pod.Addresses = slices.Clone(s.state.node(node).Addresses)
	} else {
		pod.Netns = s.podNetns(namespace, name)
		pod.ContainerID = newContainerID()
	}
	return pod
}

func (s *session) isAmong(objects []Object, pod *podState) bool {
	return slices.ContainsFunc(objects, func(o Object) bool { return o.Key() == podKey(pod.Namespace, pod.Name) })
}

// restartServers lets running pods listen on the ports that they declare now.
func (s *session) restartServers(ctx context.Context, pods []*podState) error {
	return forAll(pods, func(pod *podState) error {
		h := s.host(pod.Node)
		err := h.serverProcess(*pod).end(ctx, unix.SIGKILL)
		if err == nil {
			err = h.startServer(ctx, *pod)
		}
		if err != nil {
			return fmt.Errorf("pod %s: change its ports: %w", pod, err)
		}
		return nil
	})
}

// runPods starts the pods that do not run and that are wanted, and writes their
// status.
func (s *session) runPods(ctx context.Context, wanted func(*podState) bool) error {
	var pods []*podState
	for i := range s.state.Pods {
		if pod := &s.state.Pods[i]; !pod.Running && wanted(pod) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	err := forAll(pods, func(pod *podState) error {
		object := s.cluster.objects[podKey(pod.Namespace, pod.Name)]
		if err := s.host(pod.Node).runPod(ctx, pod, string(object.GetUID())); err != nil {
			return err
		}
		setPodRunning(object, pod.Addresses, s.state.node(pod.Node).Addresses, time.Now().UTC().Format(time.RFC3339))
		if err := s.write(object); err != nil {
			return err
		}
		s.out.printf("pod %s: %s on %s", pod, joinAddresses(pod.Addresses), pod.Node)
		return nil
	})
	return errors.Join(err, s.save())
}

// awaitInForce returns when every agent that was not killed on purpose has
// installed what its manifests say.
func (l *Lab) awaitInForce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	noted := map[string]bool{}
	return await(ctx, "agents", func(ctx context.Context) error {
		// Read each time: agents may be killed and nodes may come and go meanwhile.
		s, err := l.places.loadState()
		if err != nil {
			return err
		}
		if s.NoAgents {
			return nil
		}
		var errs []error
		for _, node := range s.Nodes {
			if !node.isKilled(Agent) {
				errs = append(errs, l.places.host(s, node.Name).inForce(ctx))
			} else if !noted[node.Name] {
				noted[node.Name] = true
				l.out.printf("node %s: its agent was killed and is not waited for; `sluice-lab start %s agent%s` brings it back", node.Name, node.Name, nameFlag(l.Name()))
			}
		}
		return errors.Join(errs...)
	})
}
