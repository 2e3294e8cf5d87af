package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/cni/wire"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "unversioned"

// verb is what a CNI command needs and how long it may take.
type verb struct {
	// required are the CNI_ variables that may not be empty (CNI specification,
	// section 2).
	required []string
	// patience is how long an agent that is alive may work on it.
	patience time.Duration
	// without is the error's code when the agent does not answer.
	without uint
}

var verbs = map[string]verb{
	wire.Add:   {[]string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}, 60 * time.Second, wire.CodeTryAgainLater},
	wire.Check: {[]string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}, 30 * time.Second, wire.CodeTryAgainLater},
	// Short, as DEL can do without.
	wire.Del: {[]string{"CNI_CONTAINERID", "CNI_IFNAME"}, 5 * time.Second, wire.CodeTryAgainLater},
	// Runtimes ask every few seconds and hold the node not ready meanwhile.
	wire.Status: {nil, 5 * time.Second, wire.CodeNotAvailable},
	// Nothing is lost: the agent collects by itself too.
	wire.GC: {nil, 60 * time.Second, wire.CodeTryAgainLater},
}

func main() { os.Exit(run()) }

// run is the whole program; it returns the exit status.
func run() int {
	command := os.Getenv("CNI_COMMAND")
	switch command {
	case "":
		usage(os.Stderr)
		return 0
	case "VERSION":
		return printVersion(os.Stdout, os.Stdin)
	}

	config, err := readConfig(os.Stdin)
	id := identify(config)
	var result json.RawMessage
	if err == nil {
		result, err = do(command, config, id)
	}
	if err != nil {
		return printError(os.Stdout, id.CNIVersion, err)
	}
	// Of the other verbs the specification wants nothing printed.
	if len(result) > 0 && command == wire.Add {
		if _, err := os.Stdout.Write(append(result, '\n')); err != nil {
			return 1
		}
	}
	return 0
}

// do carries the command out, by the agent or without it.
func do(command string, config []byte, id identity) (json.RawMessage, *wire.Error) {
	v, known := verbs[command]
	if !known {
		return nil, &wire.Error{
			Code: wire.CodeInvalidEnvironment,
			Msg:  fmt.Sprintf("CNI_COMMAND: expected ADD, DEL, CHECK, STATUS, GC or VERSION, found %.100q", command),
		}
	}
	missing := slices.DeleteFunc(slices.Clone(v.required), func(name string) bool { return os.Getenv(name) != "" })
	if len(missing) > 0 {
		return nil, &wire.Error{
			Code: wire.CodeInvalidEnvironment,
			Msg:  fmt.Sprintf("%s: expected a value, found nothing (%s needs it)", strings.Join(missing, ", "), command),
		}
	}
	req := &wire.Request{
		Command:     command,
		ContainerID: os.Getenv("CNI_CONTAINERID"),
		NetNS:       os.Getenv("CNI_NETNS"),
		IfName:      os.Getenv("CNI_IFNAME"),
		Args:        os.Getenv("CNI_ARGS"),
		Path:        os.Getenv("CNI_PATH"),
		Config:      config,
		TimeoutMS:   v.patience.Milliseconds(),
		Client:      version,
		Receipt:     true,
	}
	switch {
	case id.IPAM.Type == "":
		return askAgent(req, id, v)
	case id.layer2() && command == wire.Add:
		return addLayer2(req, id, v)
	case id.layer2() && command == wire.Del:
		return delLayer2(req, id, v)
	}
	return withIPAM(req, id, v)
}

// askAgent has the agent carry the request out; DEL can do without.
func askAgent(req *wire.Request, id identity, v verb) (json.RawMessage, *wire.Error) {
	resp, err := ask(id.Socket, req, wire.ReceiptWithin)
	switch {
	case err != nil && req.Command == wire.Del:
		return nil, deleteAlone(req, id, err)
	case err != nil:
		return nil, &wire.Error{Code: v.without, Msg: err.Error(), Details: cure}
	case resp.Error != nil:
		return nil, resp.Error
	case req.Command == wire.Add && len(resp.Result) == 0:
		return nil, &wire.Error{Code: wire.CodeInternal, Msg: "the agent answered ADD without a result"}
	}
	return resp.Result, nil
}

// withIPAM is askAgent where another plugin gives the addresses. An address is taken
// before the cable is made, and given back after it has gone.
func withIPAM(req *wire.Request, id identity, v verb) (json.RawMessage, *wire.Error) {
	plugin, config := id.IPAM.Type, []byte(req.Config)
	if req.Command == wire.Add || req.Command == wire.Check {
		out, err := delegate(plugin, config)
		if err != nil {
			return nil, err
		}
		if req.Command == wire.Add {
			req.IPAM = out
		}
	}
	result, err := askAgent(req, id, v)
	switch {
	case err != nil && req.Command == wire.Add:
		if _, undo := delegate(plugin, config, "CNI_COMMAND=DEL"); undo != nil {
			err.Details += fmt.Sprintf(" (and the address is not given back before DEL: %s)", undo.Msg)
		}
		return nil, err
	case err != nil || req.Command == wire.Add || req.Command == wire.Check:
		return result, err
	case req.Command == wire.GC:
		return nil, collectIPAM(req, id, v, result)
	}
	_, err = delegate(plugin, config)
	return nil, err
}

// collectIPAM gives back the addresses of attachments that ended without DEL, has the
// agent forget of each that it was owed, and tells the plugin of the GC, as it may have
// one of its own.
func collectIPAM(req *wire.Request, id identity, v verb, result json.RawMessage) *wire.Error {
	plugin, config := id.IPAM.Type, []byte(req.Config)
	var ended wire.Collected
	_ = json.Unmarshal(result, &ended)
	for _, a := range ended.Attachments {
		if _, err := delegate(plugin, config, "CNI_COMMAND=DEL", "CNI_CONTAINERID="+a.ContainerID, "CNI_IFNAME="+a.IfName, "CNI_NETNS="); err != nil {
			return err
		}
		del := *req
		del.Command, del.ContainerID, del.IfName = wire.Del, a.ContainerID, a.IfName
		if _, err := askAgent(&del, id, v); err != nil {
			return err
		}
	}
	_, err := delegate(plugin, config)
	return err
}

// cure is what to do when the agent does not answer.
const cure = `see whether sluice-agent runs on this node and what it logs; if it listens elsewhere, set "socket" in the network configuration`

// deleteAlone is DEL without the agent.
func deleteAlone(req *wire.Request, id identity, why error) *wire.Error {
	if id.Name == "" {
		return &wire.Error{Code: wire.CodeInvalidNetworkConfig, Msg: "name: expected the network's name, found nothing", Details: why.Error()}
	}
	name := wire.HostName(id.Name, req.ContainerID, req.IfName)
	if err := deleteLink(name); err != nil {
		return &wire.Error{Code: wire.CodeTryAgainLater, Msg: fmt.Sprintf("delete link %s: %v", name, err), Details: why.Error() + "; " + cure}
	}
	if id.Device != "" {
		if err := bringDevice(req, id); err != nil {
			return &wire.Error{Code: wire.CodeTryAgainLater, Msg: fmt.Sprintf("bring device %s home: %v", id.Device, err), Details: why.Error() + "; " + cure}
		}
		fmt.Fprintf(os.Stderr, "sluice: %v; DEL brought device %s home (if it was there) without the agent, which will give it its name\n", why, id.Device)
		return nil
	}
	fmt.Fprintf(os.Stderr, "sluice: %v; DEL removed link %s (if it was there) without the agent\n", why, name)
	return nil
}

// identity is what the executable itself reads of the network configuration. Whether
// the rest is right the agent tells.
type identity struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Socket     string `json:"socket"`
	Bridge     string `json:"bridge"`
	Device     string `json:"device"`
	IPAM       struct {
		Type string `json:"type"`
	} `json:"ipam"`
}

// identify reads what it can: a field of the wrong type is left empty.
func identify(config []byte) identity {
	var id identity
	_ = json.Unmarshal(config, &id)
	if id.CNIVersion == "" {
		id.CNIVersion = wire.LatestVersion
	}
	if id.Socket == "" {
		id.Socket = wire.DefaultSocket
	}
	return id
}

// readConfig reads standard input to its end.
func readConfig(in io.Reader) ([]byte, *wire.Error) {
	// Room for the rest of a request.
	const longest = wire.MaxMessage - 64<<10
	config, err := io.ReadAll(io.LimitReader(in, longest+1))
	if err != nil {
		return nil, &wire.Error{Code: wire.CodeIOFailure, Msg: fmt.Sprintf("read network configuration from standard input: %v", err)}
	}
	if len(config) > longest {
		return nil, &wire.Error{Code: wire.CodeInvalidNetworkConfig, Msg: fmt.Sprintf("network configuration: expected at most %d bytes, found more", longest)}
	}
	return config, wire.CheckJSON(config)
}
