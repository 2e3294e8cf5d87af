package hazard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// foreign is a CNI, or kube-proxy, and what it leaves: devices, whose names may end in
// "*", and chains, by how their names begin.
type foreign struct {
	name            string
	devices, chains []string
}

var foreigners = []foreign{
	{"Flannel", []string{"flannel.*", "flannel-*"}, []string{"FLANNEL-"}},
	{"Calico", []string{"cali*", "vxlan.calico"}, []string{"cali-"}},
	{"Cilium", []string{"cilium_*", "lxc_health"}, []string{"CILIUM_", "OLD_CILIUM_"}},
	{"Weave Net", []string{"weave", "vethwe-*"}, []string{"WEAVE"}},
	{"kube-router", []string{"kube-bridge", "kube-dummy-if"}, []string{"KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-"}},
	{"Antrea", []string{"antrea-gw0", "antrea-tun0"}, []string{"ANTREA-"}},
	{"OVN-Kubernetes", []string{"ovn-k8s-mp*"}, []string{"OVN-KUBE-"}},
	{"the bridge plugin", []string{"cni0"}, nil},
}

// kubeProxy is no CNI: its rules are leftovers only where it does not run.
var kubeProxy = foreign{"kube-proxy", []string{"kube-ipvs0"}, []string{"KUBE-SVC-", "KUBE-SERVICES", "KUBE-SEP-", "KUBE-NODEPORTS"}}

// kubeProxyTable is what kube-proxy's nftables mode keeps everything in.
const kubeProxyTable = "kube-proxy"

func leftovers(ctx context.Context, n Node) ([]Hazard, error) {
	devices, err := deviceNames()
	chains, err2 := chainNames(ctx)
	var out []Hazard
	for _, f := range foreigners {
		if h, ok := f.left(devices, chains); ok {
			h.Cure = "if it is to go: its own uninstall, and a restart of the machine, which rids it of devices and rules"
			out = append(out, h)
		}
	}
	runs, err3 := kubeProxyRuns()
	if h, ok := kubeProxy.left(devices, chains); ok && !runs {
		h.What += ", which does not run here (nothing listens on port 10256): Services that have changed since lead astray"
		h.Cure = "start it, or if it is to go: kube-proxy --cleanup"
		out = append(out, h)
	}
	confs, err4 := earlierConfs(n.ConfDir, n.Conf)
	return append(out, confs...), errors.Join(err, err2, err3, err4)
}

// left says what of a foreigner is here.
func (f foreign) left(devices, chains []string) (Hazard, bool) {
	var found []string
	for _, d := range devices {
		if slices.ContainsFunc(f.devices, func(pattern string) bool { ok, _ := filepath.Match(pattern, d); return ok }) {
			found = append(found, "device "+d)
		}
	}
	for _, c := range chains {
		if slices.ContainsFunc(f.chains, func(begin string) bool { return strings.HasPrefix(c, begin) }) {
			found = append(found, "chain "+c)
		}
	}
	const few = 3
	if len(found) > few {
		found = append(found[:few], fmt.Sprintf("and %d more", len(found)-few))
	}
	return Hazard{What: strings.Join(found, ", ") + ": of " + f.name}, len(found) > 0
}

func deviceNames() ([]string, error) {
	links, err := rtnl.Links(rtnl.Here)
	var out []string
	for _, l := range links {
		out = append(out, l.Attrs().Name)
	}
	slices.Sort(out)
	return out, err
}

// chainNames are those of all chains that have rules, and of kube-proxy's table.
func chainNames(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	var errs []error
	note := func(chains map[string]chain) {
		for name, c := range chains {
			if len(c.rules) > 0 {
				names[name] = true
			}
		}
	}
	tables, err := nftTables(ctx)
	errs = append(errs, err)
	for t, chains := range tables {
		note(chains)
		if t.name == kubeProxyTable {
			names["KUBE-SERVICES of table "+kubeProxyTable] = true
		}
	}
	for _, k := range iptablesKinds {
		if !k.legacy || !k.inUse() {
			continue // nft has shown the others
		}
		tables, err := k.save(ctx)
		errs = append(errs, err)
		for _, chains := range tables {
			note(chains)
		}
	}
	var out []string
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, errors.Join(errs...)
}

// kubeProxyRuns tells whether kube-proxy's health port answers for it: 10256 of any
// address, listening, as /proc/net/tcp writes it.
func kubeProxyRuns() (bool, error) {
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) > 3 && strings.HasSuffix(words[1], ":2810") && words[3] == "0A" {
				return true, nil
			}
		}
	}
	return false, nil
}

// earlierConfs are the network configurations that the runtime takes before ours: it
// takes the first by name.
func earlierConfs(dir, ours string) ([]Hazard, error) {
	if dir == "" || ours == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("CNI configurations: %w", err)
	}
	var out []Hazard
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case e.Name() >= ours, ext != ".conf" && ext != ".conflist" && ext != ".json":
		default:
			path := filepath.Join(dir, e.Name())
			out = append(out, Hazard{
				fmt.Sprintf("the container runtime takes the CNI configuration %s before %s: new pods are not plugged in by Sluice", path, ours), "move it away",
			})
		}
	}
	return out, nil
}
