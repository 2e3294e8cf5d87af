package lab

import (
	"net/netip"
	"strings"
)

// Listing is what a lab consists of, for programs: they find the nodes in it,
// enter the pods, read the switch, and plug pods of their own into a node by its
// CNI directories. Its JSON form is a contract. Lists are never null.
type Listing struct {
	Name     string         `json:"name"`
	Datapath Datapath       `json:"datapath"`
	Nodes    []NodeListing  `json:"nodes"`
	Outside  OutsideListing `json:"outside"`
	Pods     []PodListing   `json:"pods"`
}

// NodeListing is a node.
type NodeListing struct {
	Name string `json:"name"`
	// Netns is the path of its network namespace, for setns(2).
	Netns string `json:"netns"`
	// OVSRunDir holds db.sock, br-sluice.mgmt and the unixctl sockets.
	OVSRunDir    string       `json:"ovsRunDir"`
	AgentSocket  string       `json:"agentSocket"`
	CNISocket    string       `json:"cniSocket"`
	ManifestsDir string       `json:"manifestsDir"`
	CNIConfDir   string       `json:"cniConfDir"`
	CNIBinDir    string       `json:"cniBinDir"`
	Addresses    []netip.Addr `json:"addresses"`
	PodCIDRs     []string     `json:"podCIDRs"`
	PIDs         PIDs         `json:"pids"`
}

// PIDs are the processes of a node's daemons, 0 for one that does not run.
type PIDs struct {
	Agent    int `json:"agent"`
	Vswitchd int `json:"vswitchd"`
	OVSDB    int `json:"ovsdb"`
}

// OutsideListing is the machine on the underlay that is no node.
type OutsideListing struct {
	Netns     string       `json:"netns"`
	Addresses []netip.Addr `json:"addresses"`
	Ports     []Port       `json:"ports"`
}

// PodListing is a pod.
type PodListing struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Netns is the node's for a pod of the host's network.
	Netns string `json:"netns"`
	// Addresses are empty while the pod is not plugged in.
	Addresses []netip.Addr `json:"addresses"`
	Ports     []Port       `json:"ports"`
}

// List says what there is in the lab now.
func (l *Lab) List() (*Listing, error) {
	s, err := l.places.loadState()
	if err != nil {
		return nil, err
	}
	c, err := l.places.loadCluster(nodeKind)
	if err != nil {
		return nil, err
	}
	return l.places.list(s, c), nil
}

func (p places) list(s *state, c *cluster) *Listing {
	listing := &Listing{
		Name: p.lab, Datapath: s.Datapath,
		Nodes:   []NodeListing{},
		Outside: OutsideListing{p.outsideNetns(), s.outside(), outsidePorts},
		Pods:    []PodListing{},
	}
	for _, node := range s.Nodes {
		h := p.host(s, node.Name)
		listing.Nodes = append(listing.Nodes, NodeListing{
			Name: node.Name, Netns: h.netns(), OVSRunDir: h.ovsDir(),
			AgentSocket: h.agentSocket(), CNISocket: h.cniSocket(), ManifestsDir: h.manifestsDir(),
			CNIConfDir: h.cniConfDir(), CNIBinDir: h.cniBinDir(),
			Addresses: s.wired(node),
			PodCIDRs:  append([]string{}, podCIDRs(c.objects[nodeKey(node.Name)])...),
			PIDs:      PIDs{h.pid(Agent), h.pid(Vswitchd), h.pid(OVSDB)},
		})
	}
	for _, pod := range s.Pods {
		listing.Pods = append(listing.Pods, PodListing{
			Namespace: pod.Namespace, Name: pod.Name, Node: pod.Node, Netns: pod.Netns,
			Addresses: append([]netip.Addr{}, pod.Addresses...),
			Ports:     append([]Port{}, pod.Ports...),
		})
	}
	return listing
}

// Node finds a node by its name.
func (l *Listing) Node(name string) (NodeListing, bool) {
	for _, node := range l.Nodes {
		if node.Name == name {
			return node, true
		}
	}
	return NodeListing{}, false
}

// Pod finds a pod by "name", in the namespace default, or "namespace/name".
func (l *Listing) Pod(name string) (PodListing, bool) {
	if !strings.Contains(name, "/") {
		name = "default/" + name
	}
	for _, pod := range l.Pods {
		if pod.Namespace+"/"+pod.Name == name {
			return pod, true
		}
	}
	return PodListing{}, false
}

// joinAddresses writes addresses for people.
func joinAddresses(addresses []netip.Addr) string {
	var texts []string
	for _, address := range addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, ", ")
}
