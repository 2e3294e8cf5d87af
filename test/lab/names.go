package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
)

const (
	// runDir holds a directory for each lab.
	runDir = "/run/sluice-lab"
	// netnsDir is where iproute2 keeps named network namespaces, so that
	// `ip netns` shows the lab's.
	netnsDir = "/run/netns"

	// DefaultName is the lab meant when none is named.
	DefaultName = "lab"

	// maxLabName and maxNodeDir keep the longest socket path of a node
	// (/run/sluice-lab/LAB/nodes/NODE/ovs/ovs-vswitchd.PID.ctl) under the 107
	// bytes that a unix socket's address holds.
	maxLabName = 20
	maxNodeDir = 20
	// maxFileName is the longest name of a file (and so of a namespace), NAME_MAX,
	// less the dot of a file being written.
	maxFileName = 254
)

var labName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// checkLabName says whether name can be a lab's. It holds no dot, so that the
// prefix of one lab's namespaces is never that of another's.
func checkLabName(name string) error {
	if len(name) > maxLabName || !labName.MatchString(name) {
		return fmt.Errorf("%q cannot name a lab: use at most %d lower-case letters, digits and '-'", name, maxLabName)
	}
	return nil
}

// places says where the things of one lab are.
type places struct{ lab string }

func (p places) dir() string          { return filepath.Join(runDir, p.lab) }
func (p places) lockFile() string     { return filepath.Join(runDir, p.lab+".lock") }
func (p places) stateFile() string    { return filepath.Join(p.dir(), "lab.json") }
func (p places) objectsDir() string   { return filepath.Join(p.dir(), "objects") }
func (p places) outsideLog() string   { return filepath.Join(p.dir(), "outside.log") }
func (p places) netnsPrefix() string  { return "sl-" + p.lab + "." }
func (p places) wireNetns() string    { return p.netns("wire") }
func (p places) outsideNetns() string { return p.netns("outside") }

func (p places) nodeNetns(node string) string { return p.netns("node." + node) }

func (p places) podNetns(namespace, name string) string {
	return p.netns("pod." + namespace + "." + name)
}

// netns is the path of a namespace of this lab.
func (p places) netns(name string) string {
	return filepath.Join(netnsDir, shorten(p.netnsPrefix()+name, maxFileName))
}

// nodePlaces says where the things of one node are.
type nodePlaces struct{ dir string }

func (p places) node(name string) nodePlaces {
	return nodePlaces{filepath.Join(p.dir(), "nodes", shorten(name, maxNodeDir))}
}

func (n nodePlaces) ovsDir() string       { return filepath.Join(n.dir, "ovs") }
func (n nodePlaces) ovsdbSocket() string  { return filepath.Join(n.ovsDir(), "db.sock") }
func (n nodePlaces) agentDir() string     { return filepath.Join(n.dir, "run") }
func (n nodePlaces) agentSocket() string  { return filepath.Join(n.agentDir(), "agent.sock") }
func (n nodePlaces) cniSocket() string    { return filepath.Join(n.agentDir(), "cni.sock") }
func (n nodePlaces) manifestsDir() string { return filepath.Join(n.dir, "manifests") }
func (n nodePlaces) cniConfDir() string   { return filepath.Join(n.dir, "cni", "net.d") }
func (n nodePlaces) cniBinDir() string    { return filepath.Join(n.dir, "cni", "bin") }
func (n nodePlaces) cniCacheDir() string  { return filepath.Join(n.dir, "cni", "cache") }
func (n nodePlaces) agentLog() string     { return filepath.Join(n.dir, "agent.log") }
func (n nodePlaces) podsDir() string      { return filepath.Join(n.dir, "pods") }

// shorten leaves a name as it is if it has at most max bytes, and else replaces
// its end by a hash of the whole.
func shorten(name string, max int) string {
	if len(name) <= max {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := "-" + hex.EncodeToString(sum[:5])
	return name[:max-len(tail)] + tail
}
