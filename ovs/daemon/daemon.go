package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Daemon names one of the two daemons by its executable.
type Daemon string

// The two daemons, in the order in which they are started.
const (
	DB       Daemon = "ovsdb-server"
	Vswitchd Daemon = "ovs-vswitchd"
)

// longestSocket is the longest name of a socket that is made in the directory:
// ovs-vswitchd adds ".snoop" to a bridge's name, which has at most 15 bytes.
const longestSocket = len("/123456789012345.snoop")

// maxSocketPath is how long a unix socket's path may be (sockaddr_un.sun_path
// without its final zero byte).
const maxSocketPath = 107

// OVS is one Open vSwitch of our own. Its methods may be called from several
// goroutines and processes, but two that start the same daemon at once may both
// fail.
type OVS struct {
	dir   string
	netns string
}

// New returns the Open vSwitch whose files are in dir and whose daemons are in
// the network namespace at the path netns ("" means the caller's own). It makes
// the directory if need be and starts nothing: daemons that run there already,
// whoever started them, are found.
func New(dir, netns string) (*OVS, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("directory of Open vSwitch %q: the path must be absolute, as the daemons are found by it", dir)
	}
	dir = filepath.Clean(dir)
	if n := len(dir) + longestSocket; n > maxSocketPath {
		return nil, fmt.Errorf("directory of Open vSwitch %q: the path of a bridge's socket in it would have %d bytes, and a unix socket's path may have %d: choose a directory of at most %d bytes",
			dir, n, maxSocketPath, maxSocketPath-longestSocket)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("directory of Open vSwitch: %w", err)
	}
	return &OVS{dir: dir, netns: netns}, nil
}

// Dir returns the directory, which is the daemons' OVS_RUNDIR.
func (o *OVS) Dir() string { return o.dir }

// NetNS returns the path of the network namespace, "" for the caller's own.
func (o *OVS) NetNS() string { return o.netns }

// DBSocket returns the path of ovsdb-server's socket.
func (o *OVS) DBSocket() string { return o.file("db.sock") }

// DBEndpoint returns DBSocket in the form that ovs-vsctl --db takes: "unix:PATH".
func (o *OVS) DBEndpoint() string { return "unix:" + o.DBSocket() }

// MgmtSocket returns the path of the bridge's OpenFlow socket, which exists
// while ovs-vswitchd has that bridge.
func (o *OVS) MgmtSocket(bridge string) string { return o.file(bridge + ".mgmt") }

// CtlSocket returns the path of the daemon's unixctl socket, which ovs-appctl -t takes.
func (o *OVS) CtlSocket(d Daemon) string { return o.file(string(d) + ".ctl") }

// LogFile returns the path of the daemon's log.
func (o *OVS) LogFile(d Daemon) string { return o.file(string(d) + ".log") }

// Env returns the environment in which Open vSwitch's own tools (ovs-vsctl,
// ovs-ofctl, ovs-appctl) talk to these daemons: the caller's with OVS_RUNDIR and
// its like set to the directory.
func (o *OVS) Env() []string {
	return append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_LOGDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_SYSCONFDIR="+o.dir)
}

func (o *OVS) file(name string) string { return filepath.Join(o.dir, name) }

func (o *OVS) dbFile() string { return o.file("conf.db") }

func (o *OVS) pidFile(d Daemon) string { return o.file(string(d) + ".pid") }

// LogTail returns the last lines of what the daemon wrote to its log and to its
// standard output and error; "" if it wrote nothing.
func (o *OVS) LogTail(d Daemon, lines int) string {
	var tails []string
	for _, path := range []string{o.LogFile(d), o.outFile(d)} {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		tails = append(tails, all[max(0, len(all)-lines):]...)
	}
	return strings.Join(tails, "\n")
}

// outFile is where standard output and error go: what a daemon says before it
// has opened its log.
func (o *OVS) outFile(d Daemon) string { return o.file(string(d) + ".out") }

// packages says which Debian package an executable comes from.
var packages = map[string]string{
	string(DB):       "openvswitch-common",
	string(Vswitchd): "openvswitch-switch",
	"ovsdb-tool":     "openvswitch-common",
	"ovs-appctl":     "openvswitch-common",
	"ovs-ofctl":      "openvswitch-common",
	"ovs-vsctl":      "openvswitch-switch",
}

// LookPath finds one of Open vSwitch's executables, in PATH or where packages
// put daemons. The error names the package to install.
func LookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	pkg, ok := packages[name]
	if !ok {
		pkg = "openvswitch-switch"
	}
	return "", fmt.Errorf("%w: %s is not in PATH: install Open vSwitch (Debian and Ubuntu: apt-get install openvswitch-switch; the program is in package %s)",
		exec.ErrNotFound, name, pkg)
}
