package plugging

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// nowhere is a node that has nothing: every request ends where it would touch something.
type nowhere struct{}

var errNowhere = errors.New("there is no Open vSwitch")

func (nowhere) Name() string                                       { return "nowhere" }
func (nowhere) OVSDB() (*db.Client, error)                         { return nil, errNowhere }
func (nowhere) Ready() (*db.Client, state.State, error)            { return nil, state.State{}, errNowhere }
func (nowhere) Kick()                                              {}
func (nowhere) Sync(context.Context) error                         { return errNowhere }
func (nowhere) SyncHost(context.Context) error                     { return errNowhere }
func (nowhere) Refused(string) error                               { return nil }
func (nowhere) Know(context.Context, string, string, string) error { return nil }
func (nowhere) Pod(string, string) (state.Pod, bool, bool)         { return state.Pod{}, false, false }
func (nowhere) KnowsAllPods() bool                                 { return false }
func (nowhere) Missing(context.Context, state.Attachment) (string, error) {
	return "", errNowhere
}
func (nowhere) MissingHostPort(context.Context, state.Attachment) (string, error) {
	return "", errNowhere
}

// FuzzServe gives the agent's end of the socket any request: each is answered, and a
// refusal has a code.
func FuzzServe(f *testing.F) {
	const conf = `{"cniVersion":"1.1.0","name":"sluice","type":"sluice","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}`
	for _, verb := range []string{wire.Add, wire.Del, wire.Check, wire.Status, wire.GC, "UPDATE"} {
		f.Add(verb, "c1", "/run/netns/x", "eth0", "IgnoreUnknown=1;IP=10.1.2.3", conf, "")
	}
	f.Add(wire.Add, "", "", "", "K8S_POD_NAME", `{"cniVersion":"0.3.1","name":"a/b","prevResult":{"ips":[{"version":"4"}]}}`, `{"ips":[{"address":"10.0.0.1"}]}`)
	f.Add(wire.Check, "c1", "/proc/self/ns/net", "eth0", "", `{"cniVersion":"1.0.0","name":"n","type":"sluice","prevResult":{"cniVersion":"1.0.0","interfaces":[null],"ips":[null]}}`, "null")
	f.Fuzz(func(t *testing.T, verb, container, netns, ifname, args, conf, ipam string) {
		req := &wire.Request{Command: verb, ContainerID: container, NetNS: netns, IfName: ifname, Args: args, Config: json.RawMessage(conf)}
		if ipam != "" {
			req.IPAM = json.RawMessage(ipam)
		}
		p := New(nowhere{}, slog.New(slog.DiscardHandler))
		_, err := p.Serve(t.Context(), req)
		if e := new(types.Error); errors.As(err, &e) && e.Code == 0 {
			t.Errorf("an error without a code: %v", err)
		}
		if verb == wire.Add && err == nil {
			t.Error("an ADD succeeds where there is nothing")
		}
		p.Wait()
	})
}

// FuzzReadDelegated reads what another IPAM plugin printed.
func FuzzReadDelegated(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"dns":{"nameservers":["10.0.0.1"]}}`))
	f.Add([]byte(`{"cniVersion":"0.3.1","ips":[{"version":"6","address":"fd00::1/64"},null]}`))
	f.Add([]byte(`{"ips":[{}]}`))
	f.Fuzz(func(t *testing.T, result []byte) {
		d, err := readDelegated("other", result)
		if err == nil && len(d.addresses) == 0 {
			t.Error("no address, and no error")
		}
		for _, a := range d.addresses {
			if !a.IsValid() {
				t.Errorf("address %v", a)
			}
		}
		g, err := readGiven("other", result)
		if err == nil && len(g.dressing.Addresses) == 0 {
			t.Error("no address of a second network, and no error")
		}
	})
}
