package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// state is what lab.json holds: all that a command must know of a lab besides
// its objects. It is written before what it tells of is made, so that nothing
// is there that it does not name.
type state struct {
	Datapath Datapath `json:"datapath"`
	MTU      int      `json:"mtu"`
	// Families are the pods', Underlay the nodes'.
	Families Families `json:"families,omitempty"`
	Underlay Families `json:"underlay,omitempty"`
	// BinDir is where the executables are that the lab was started with.
	BinDir  string    `json:"binDir"`
	Created time.Time `json:"created"`
	// NoAgents: nodes are machines with Open vSwitch and nothing else.
	NoAgents bool `json:"noAgents,omitempty"`
	// Up is set once all that was asked for at the start is there.
	Up    bool        `json:"up"`
	Nodes []nodeState `json:"nodes"`
	Pods  []podState  `json:"pods"`
}

type nodeState struct {
	Name string `json:"name"`
	// Addresses are the InternalIPs.
	Addresses []netip.Addr `json:"addresses"`
	// Killed are the daemons that were killed on purpose and not started since.
	Killed []Daemon `json:"killed,omitempty"`
}

type podState struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Netns is the node's for a pod of the host's network.
	Netns       string `json:"netns"`
	HostNetwork bool   `json:"hostNetwork,omitempty"`
	// ContainerID is the sandbox's, as a runtime would make it up. It is empty for
	// a pod of the host's network.
	ContainerID string       `json:"containerID,omitempty"`
	Addresses   []netip.Addr `json:"addresses,omitempty"`
	// Ports are those that are declared, and listened on if Running.
	Ports []Port `json:"ports,omitempty"`
	// HostPorts are the ports of the node that the runtime asks for with the pod.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
	Running   bool       `json:"running"`
}

func (p podState) String() string { return p.Namespace + "/" + p.Name }

func (s *state) node(name string) *nodeState {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

func (s *state) pod(namespace, name string) *podState {
	for i := range s.Pods {
		if s.Pods[i].Namespace == namespace && s.Pods[i].Name == name {
			return &s.Pods[i]
		}
	}
	return nil
}

func (s *state) dropNode(name string) {
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n nodeState) bool { return n.Name == name })
}

func (s *state) dropPod(pod podState) {
	s.Pods = slices.DeleteFunc(s.Pods, func(p podState) bool { return p.String() == pod.String() })
}

// NotUpError says that there is no such lab.
type NotUpError struct{ Lab string }

func (e *NotUpError) Error() string {
	return fmt.Sprintf("lab %q is not up: run `sluice-lab up%s`", e.Lab, nameFlag(e.Lab))
}

// nameFlag is what a command needs to mean this lab.
func nameFlag(lab string) string {
	if lab == DefaultName {
		return ""
	}
	return " --name " + lab
}

// loadState reads lab.json; the error is a NotUpError if there is none.
func (p places) loadState() (*state, error) {
	data, err := os.ReadFile(p.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotUpError{p.lab}
	}
	if err != nil {
		return nil, fmt.Errorf("state of lab %q: %w", p.lab, err)
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("state of lab %q: %s: %w: run `sluice-lab down%s` and begin anew", p.lab, p.stateFile(), err, nameFlag(p.lab))
	}
	return s, nil
}

func (p places) saveState(s *state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = writeWhole(p.stateFile(), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save the state of lab %q: %w", p.lab, err)
	}
	return nil
}

// writeWhole writes a file so that a reader sees the old or the new contents.
func writeWhole(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

func (n *nodeState) isKilled(d Daemon) bool { return slices.Contains(n.Killed, d) }

func (n *nodeState) setKilled(d Daemon, killed bool) {
	n.Killed = slices.DeleteFunc(n.Killed, func(other Daemon) bool { return other == d })
	if killed {
		n.Killed = append(n.Killed, d)
	}
}
