package lab_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

const thirdNode = `
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {podCIDRs: [10.244.77.0/24]}
`

// TestAThirdNodeIsReachableWithinASecond of its own flows' being in force: before, it answers nobody, and a peer's input
// waits for it.
func TestAThirdNodeIsReachableWithinASecond(t *testing.T) {
	l := up(t, lab.Options{})
	apply(t, l, thirdNode)
	expectAll(t, probe(t, l, lab.ProbeRequest{From: ends(t, "a1", "a2"), To: ends(t, "10.244.77.1", "node/n3"), Protocol: "icmp"}))
	there := status(t, l, "n3").Input.Since
	for _, name := range []string{"n1", "n2"} {
		manifest, err := os.Stat(filepath.Join(node(t, l, name).ManifestsDir, "node_n3.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		known := manifest.ModTime()
		if there.After(known) {
			known = there
		}
		if took := status(t, l, name).Input.Since.Sub(known); took > slow.Bound(time.Second) {
			t.Errorf("on %s it took %s until the new node was in force", name, took)
		}
	}

	apply(t, l, `
apiVersion: v1
kind: Pod
metadata: {name: c3}
spec: {nodeName: n3, containers: [{name: c, ports: [{containerPort: 8080}]}]}
`)
	expectAll(t, probe(t, l, lab.ProbeRequest{}))

	t.Run("and its flows go with it", func(t *testing.T) {
		machine := node(t, l, "n3")
		for _, name := range []string{"n1", "n2"} {
			if !strings.Contains(flows(t, l, name), "10.244.77.0/24") {
				t.Errorf("no flow of %s is about n3", name)
			}
		}
		key, err := l.Find("node/n3")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Delete(t.Context(), []lab.Key{key}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"n1", "n2"} {
			for line := range strings.Lines(flows(t, l, name)) {
				if strings.Contains(line, "10.244.77.") || strings.Contains(line, "10.9.0.3") {
					t.Errorf("on %s this is left of n3: %s", name, line)
				}
			}
		}
		if exists(machine.Netns) || exists(machine.OVSRunDir) {
			t.Error("the machine is left")
		}
		if len(list(t, l).Pods) != 4 {
			t.Errorf("pods %+v", list(t, l).Pods)
		}
		expectAll(t, probe(t, l, lab.ProbeRequest{}))
	})
}

func TestApplyReturnsWhenTheChangeIsInForce(t *testing.T) {
	l := up(t, lab.Options{})
	const text = `
apiVersion: v1
kind: Pod
metadata: {name: a1, labels: {app: %s}}
spec: {containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 8080, protocol: UDP}]}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {team: %[1]s}}
`
	before := pod(t, l, "a1")
	for i := range 10 {
		apply(t, l, fmt.Sprintf(text, fmt.Sprintf("v%d", i)))
		for _, name := range []string{"n1", "n2"} {
			digest, err := manifests.Digest(node(t, l, name).ManifestsDir)
			if err != nil {
				t.Fatal(err)
			}
			if got := status(t, l, name).Input; got.Seen != digest || got.Installed != digest {
				t.Errorf("change %d: %s has %+v, want %s", i, name, got, digest)
			}
		}
	}
	manifest, err := os.ReadFile(filepath.Join(node(t, l, "n2").ManifestsDir, "pod_default_a1.yaml"))
	if err != nil || !strings.Contains(string(manifest), "app: v9") || !strings.Contains(string(manifest), "podIP: "+before.Addresses[0].String()) {
		t.Errorf("manifest of the pod: %s (%v)", manifest, err)
	}
	if after := pod(t, l, "a1"); after.Addresses[0] != before.Addresses[0] || after.Netns != before.Netns {
		t.Errorf("the pod was %+v and is %+v", before, after)
	}
}

func TestDeletedPodsAreUnplugged(t *testing.T) {
	l := up(t, lab.Options{})
	gone := pod(t, l, "b1")
	key, err := l.Find("pods/b1")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(t.Context(), []lab.Key{key}); err != nil {
		t.Fatal(err)
	}
	if exists(gone.Netns) {
		t.Error("the namespace is left")
	}
	for _, port := range status(t, l, "n1").Ports {
		if port.Pod == "default/b1" {
			t.Errorf("the switch still has %+v", port)
		}
	}
	if text := flows(t, l, "n1"); strings.Contains(text, gone.Addresses[0].String()+" ") || strings.Contains(text, gone.Addresses[0].String()+",") {
		t.Errorf("flows are left:\n%s", text)
	}
	if err := l.Delete(t.Context(), []lab.Key{key}); err == nil || !strings.Contains(err.Error(), "pod/default/b1 is not in lab") {
		t.Errorf("deleted again: %v", err)
	}
	expectAll(t, probe(t, l, lab.ProbeRequest{}))
}

func TestAKilledAgentLeavesTrafficAloneAndComesBack(t *testing.T) {
	l := up(t, lab.Options{})
	before := devices(t, l)
	if err := l.Kill(t.Context(), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	if pid := node(t, l, "n1").PIDs.Agent; pid != 0 {
		t.Errorf("the agent is still process %d", pid)
	}
	expectAll(t, probe(t, l, lab.ProbeRequest{}))

	// ADD says at once: try again later.
	begun := time.Now()
	err := l.ApplyYAML(t.Context(), `
apiVersion: v1
kind: Pod
metadata: {name: late}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 80}]}]}
`)
	refused := new(types.Error)
	if !errors.As(err, &refused) || refused.Code != types.ErrTryAgainLater {
		t.Errorf("ADD without an agent: %v, want CNI error %d", err, types.ErrTryAgainLater)
	}
	if took := time.Since(begun); took > slow.Bound(5*time.Second) {
		t.Errorf("the answer took %s", took)
	}

	if err := l.Start(t.Context(), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	expectAll(t, probe(t, l, lab.ProbeRequest{}))
	if late := pod(t, l, "late"); len(late.Addresses) != 1 {
		t.Errorf("the pod that waited is %+v", late)
	}
	after := devices(t, l)
	for name, device := range before {
		if after[name] != device {
			t.Errorf("pod %s was plugged in again: device %s, was %s", name, after[name], device)
		}
	}
}

// devices tell which device each pod has, by index and MAC.
func devices(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range list(t, l).Pods {
		err := netns.Do(p.Netns, func() error {
			device, err := net.InterfaceByName("eth0")
			if err == nil {
				all[p.Name] = fmt.Sprintf("%d %s", device.Index, device.HardwareAddr)
			}
			return err
		})
		if err != nil {
			t.Fatalf("pod %s: %v", p.Name, err)
		}
	}
	return all
}

func TestDaemonsOfOpenVSwitchComeBack(t *testing.T) {
	l := up(t, lab.Options{})
	for _, daemon := range []lab.Daemon{lab.Vswitchd, lab.OVSDB} {
		t.Run(string(daemon), func(t *testing.T) {
			if err := l.Kill(t.Context(), "n1", daemon); err != nil {
				t.Fatal(err)
			}
			if err := l.Start(t.Context(), "n1", daemon); err != nil {
				t.Fatal(err)
			}
			// The agent loads the tables again, and vswitchd backs off by up to 8 s
			// before it returns to a restarted ovsdb-server.
			eventually(t, 15*time.Second, func() error {
				results, err := l.Probe(t.Context(), lab.ProbeRequest{From: ends(t, "a1"), To: ends(t, "a2"), Protocol: "icmp"})
				if err == nil && !results[0].Reached {
					err = errors.New(results[0].Error)
				}
				return err
			})
			expectAll(t, probe(t, l, lab.ProbeRequest{}))
		})
	}
}

func TestApplySaysWhatItWaitsFor(t *testing.T) {
	l := up(t, lab.Options{})
	bad := filepath.Join(node(t, l, "n1").ManifestsDir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: v1\nkind: Pod\nmetadata: {\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Timeout = slow.Bound(time.Second)
	err := l.ApplyYAML(t.Context(), `{apiVersion: v1, kind: Namespace, metadata: {name: later}}`)
	if err == nil || !strings.Contains(err.Error(), "node n1") || !strings.Contains(err.Error(), "bad.yaml:") || strings.Contains(err.Error(), "node n2") {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	l.Timeout = slow.Bound(lab.DefaultTimeout)
	apply(t, l, `{apiVersion: v1, kind: Namespace, metadata: {name: latest}}`)
}
